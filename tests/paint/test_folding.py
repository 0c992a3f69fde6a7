"""Constants of removed channels go into the next bias, or with the slices that read them."""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import Net, pruned, randomised
from torch import Tensor, nn

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def middle(act: nn.Module, reader: nn.Module) -> nn.Module:
    return randomised(nn.Sequential(nn.Conv2d(3, 6, 1), act, reader))


@pytest.mark.parametrize(
    "act", [nn.Sigmoid(), nn.Softplus(), nn.ELU(), nn.Hardsigmoid(), Net(lambda _, x: torch.exp(-x))]
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reader", ["1x1", "unpadded", "reflected", "linear"])
def test_constants_are_folded_into_the_next_bias(act: nn.Module, bias: bool, reader: str) -> None:
    layers = {
        "1x1": nn.Conv2d(6, 4, 1, bias=bias),
        "unpadded": nn.Conv2d(6, 4, 3, bias=bias),
        "reflected": nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect", bias=bias),
        "linear": nn.Sequential(nn.Flatten(), nn.Linear(6 * 64, 4, bias=bias)),
    }
    model = middle(act, layers[reader])
    plan, small = pruned(model, IMAGE)
    assert plan.exact
    assert plan.removed == 3
    last = list(small.named_parameters())[-1][0]
    assert last.endswith("bias") is (bias or not isinstance(act, nn.ELU))


def test_the_folded_bias_is_the_sum_of_the_removed_slices_times_the_constant() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 6, 1), nn.Sigmoid(), nn.Conv2d(6, 4, 3)))
    plan, small = pruned(model, IMAGE)
    gone = list(plan.groups[0].removed)
    wanted = model[2].bias + 0.5 * model[2].weight[:, gone].sum((1, 2, 3))
    assert torch.allclose(small[2].bias, wanted, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    "reader",
    [
        nn.Conv2d(6, 4, 3, padding=1),
        nn.Conv2d(6, 4, 3, padding="same"),
        nn.ConvTranspose2d(6, 4, 3),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.Conv2d(6, 4, 1)),
    ],
)
def test_constants_that_no_bias_can_take_go_with_the_slices_that_read_them(reader: nn.Module) -> None:
    plan, _ = pruned(middle(nn.Sigmoid(), reader), IMAGE)
    assert plan.exact and plan.removed


def test_a_shared_reader_cannot_take_a_constant() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.b(x.sigmoid()) + m.b(x)

    plan, small = pruned(randomised(Net(run, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1, bias=False))), IMAGE)
    assert plan.exact and plan.removed and small.b.bias is None
