"""Forwards that ask whether their numbers are finite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.paint.nets import Net, difference, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.errors import TraceError

IMAGE = torch.randn(1, 3, 4, 4, dtype=torch.float64)
ASKED: dict[str, Callable[[Tensor], Tensor]] = {
    "not all finite": lambda x: ~torch.isfinite(x).all(),
    "any infinite": lambda x: torch.isinf(x).any(),
    "any not a number": lambda x: x.isnan().any(),
    "none finite": lambda x: torch.isfinite(x).logical_not().any(),
    "either": lambda x: (torch.isnan(x) | torch.isinf(x)).any(),
    "either, later": lambda x: torch.isnan(x).any() | torch.isinf(x).any(),
    "not itself": lambda x: (x != x).any(),
    "both": lambda x: (torch.isnan(x) & (x > 0)).any(),
}


def net(asks: Callable[[Tensor], Tensor]) -> nn.Module:
    def forward(model: Net, x: Tensor) -> Tensor:
        x = model.a(x)
        return model.b(x.clamp(-1, 1) if asks(x) else x)

    return randomised(Net(forward, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1)))


@pytest.mark.parametrize("name", ASKED)
def test_painting_takes_numbers_for_finite(name: str) -> None:
    model = net(ASKED[name])
    graph = prunus.trace(model, IMAGE)
    plan = random_plan(graph)
    small = prunus.compact(model, plan)
    assert plan.removed == 3 and plan.exact and small.prunus.mode == "eager"
    assert difference(prunus.mask(model, plan), small, IMAGE) < 1e-12


@pytest.mark.parametrize(
    "asks",
    [
        lambda x: (x > 0).any(),
        lambda x: (torch.isnan(x) | (x > 0)).any(),
        lambda x: torch.isnan(x).sum() > 0,
        lambda x: (x == 1e9).all(),
    ],
)
def test_any_other_condition_is_an_error(asks: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(TraceError, match="reads the value of a tensor"):
        prunus.trace(net(asks), IMAGE)
