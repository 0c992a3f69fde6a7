from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data import Split, load
from prunus.errors import ConfigError, DataError
from prunus.models import lenet5
from prunus.training import evaluate
from prunus.training.evaluation import placement

DIGITS = load("digits")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [7, 500])
def test_accuracy_and_loss_equal_the_plain_formula(dtype: torch.dtype, batch_size: int) -> None:
    torch.manual_seed(0)
    model = lenet5(image_size=8).to(dtype)
    found = evaluate(model, DIGITS.test, DIGITS.normalise, batch_size)
    images = ((DIGITS.test.images.double() / 255 - DIGITS.mean[0]) / DIGITS.std[0]).to(dtype)
    logits = model(images).detach()
    right = sum(int(row.argmax()) == int(label) for row, label in zip(logits, DIGITS.test.labels))
    assert found.accuracy == pytest.approx(100 * right / 355)
    assert found.loss == pytest.approx(F.cross_entropy(logits, DIGITS.test.labels).item(), rel=1e-4)
    assert found.count == 355


def test_the_mode_of_every_module_is_kept() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.99), nn.BatchNorm1d(64), nn.Linear(64, 10))
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, DIGITS.test, DIGITS.normalise)
    assert [module.training for module in model] == [True, True, False, True]
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


class Failing(nn.Module):
    """Fails in the middle of a pass."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("a bug of the user")


def test_the_mode_is_kept_when_the_model_fails() -> None:
    model = Failing().train()
    with pytest.raises(ValueError, match="a bug"):
        evaluate(model, DIGITS.test, DIGITS.normalise)
    assert model.training


def test_models_that_do_not_fit_are_named() -> None:
    with pytest.raises(
        DataError, match=r"labels go up to 9, but LeNet5 tells 4 classes apart.*num_classes=10"
    ):
        evaluate(lenet5(4, image_size=8), DIGITS.test, DIGITS.normalise)
    with pytest.raises(ConfigError, match=r"Conv2d must return logits .* not shape \(355, 2, 6, 6\)"):
        evaluate(nn.Conv2d(1, 2, 3), DIGITS.test, DIGITS.normalise)
    with pytest.raises(DataError, match="no samples"):
        evaluate(lenet5(image_size=8), DIGITS.test.subset(torch.arange(0)), DIGITS.normalise)


@pytest.mark.parametrize(
    ("types", "wanted"),
    [
        ((torch.float64,), torch.float64),
        ((torch.complex64, torch.float64), torch.float64),
        ((torch.complex64,), torch.float32),
        ((torch.complex128, torch.complex64), torch.float64),
        ((torch.int64,), torch.float32),
        ((), torch.float32),
    ],
)
def test_inputs_go_where_the_parameters_are(types: tuple[torch.dtype, ...], wanted: torch.dtype) -> None:
    tensors = [torch.zeros(1, dtype=dtype, device="meta") for dtype in types]
    model = nn.ParameterList(nn.Parameter(one, requires_grad=False) for one in tensors)
    device, dtype = placement(model)
    assert dtype == wanted and device.type == ("cpu" if types in ((torch.int64,), ()) else "meta")


def test_a_network_that_gives_no_numbers_is_right_of_no_sample() -> None:
    """`argmax` takes NaN for the largest: such a network was right of all samples of the first class."""
    split = Split(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]))
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.constant_(network[1].bias, float("nan"))
    assert evaluate(network, split, ((0.5,), (0.5,))).accuracy == 0.0
