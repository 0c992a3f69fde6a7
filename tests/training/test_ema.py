"""Averages of weights are those of their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunus.data import load
from prunus.models import lenet5
from prunus.training import TrainConfig, train
from prunus.training.ema import Average

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(60))


def moved(model: nn.Linear, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


@pytest.mark.parametrize(("last", "wanted"), [(0.5, (6 + 7 + 8 + 9 + 10) / 5), (0.1, 10), (0.3, 9)])
def test_the_last_steps_are_averaged_alike(last: float, wanted: float) -> None:
    model = nn.Linear(1, 1, bias=False).double()
    average = Average(model, 0.0, last)
    for step in range(10):
        moved(model, step + 1)
        average.update(step / 10)
        if step / 10 < 1 - last - 1e-6:
            assert float(average.values["weight"]) == step + 1
    assert float(average.values["weight"]) == pytest.approx(wanted)


def test_the_exponential_average_begins_with_what_there_is() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    moved(model, 0.0)
    average, wanted = Average(model, 0.5), 0.0
    for step in range(10):
        moved(model, step + 1)
        average.update(step / 10)
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * (step + 1)
        assert float(average.values["weight"]) == pytest.approx(wanted)


def test_a_training_keeps_the_mean_of_its_last_weights() -> None:
    torch.manual_seed(0)
    model = lenet5(image_size=8).double()
    seen: list[torch.Tensor] = []
    config = TrainConfig(epochs=4, batch_size=20, lr=0.01, average=0.5)
    train(
        model,
        FEW,
        config,
        normalise=DIGITS.normalise,
        on_step=lambda done, total: seen.append(model.fc2.weight.detach().clone()),
    )
    assert len(seen) == 12
    torch.testing.assert_close(model.fc2.weight.detach(), torch.stack(seen[6:]).mean(0))


class Filled(nn.Module):
    """A parameter and a buffer of some type."""

    def __init__(self, dtype: torch.dtype, buffer: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, dtype=dtype), requires_grad=dtype.is_floating_point)
        self.register_buffer("beside", torch.zeros(3, dtype=buffer))


NUMBERS = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]


@pytest.mark.parametrize("last", [0.0, 0.5])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_of_every_type_are_averaged(dtype: torch.dtype, last: float) -> None:
    model = Filled(dtype, dtype)
    average = Average(model, 0.0 if last else 0.5, last)
    value = 2 + 4j if dtype.is_complex else 2.0
    for step in range(4):
        for tensor in (model.weight.data, model.beside):
            tensor.fill_(step * value)
        average.update(step / 4)
    wanted = torch.full((3,), average.values["weight"][0].item(), dtype=dtype)
    with average.in_place():
        assert torch.equal(model.weight, wanted) and torch.equal(model.beside, wanted)
    assert torch.equal(model.weight, torch.full((3,), 3 * value, dtype=dtype))
    average.keep()
    kept = complex(model.weight[0].item())
    assert kept == pytest.approx(2.5 * value if last else kept, rel=0.02) and abs(kept) < abs(3 * value)
    assert kept.imag == pytest.approx(2 * kept.real if dtype.is_complex else 0, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn])
def test_what_cannot_be_averaged_stays_the_last(dtype: torch.dtype) -> None:
    model = Filled(torch.float32, dtype)
    average = Average(model, 0.5)
    model.beside = torch.ones(3).to(dtype)
    average.update()
    average.keep()
    assert list(average.values) == ["weight"] and torch.equal(model.beside.float(), torch.ones(3))
