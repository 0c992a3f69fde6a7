"""Distances that a forward itself works out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, difference, pruned, randomised
from torch import Tensor, nn

import prunus

IMAGE = torch.randn(2, 3, 6, 6, dtype=torch.float64)
Distance = Callable[[Tensor, Tensor], Tensor]


def network(distance: Distance) -> nn.Module:
    """Two branches of six channels, whose distance is returned beside what is made of one of them."""

    def run(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = m.a(x), m.b(x)
        return m.c(first), distance(first, second)

    layers = {"a": nn.Conv2d(3, 6, 1), "b": nn.Conv2d(3, 6, 1), "c": nn.Conv2d(6, 2, 1)}
    return randomised(Net(run, **layers))


EXACT: dict[str, Distance] = {
    "mean square": F.mse_loss,
    "sum of squares": lambda a, b: F.mse_loss(a, b, reduction="sum"),
    "squares": lambda a, b: F.mse_loss(a, b, reduction="none").mean((2, 3)).sum(1),
    "smooth": F.smooth_l1_loss,
    "smooth, wide": lambda a, b: F.smooth_l1_loss(a, b, beta=0.3),
    "smooth, wide, by place": lambda a, b: F.smooth_l1_loss(a, b, None, None, "mean", 2.0),
    "one side is left alone": lambda a, b: F.mse_loss(a.detach(), b),
    "huber's, summed": lambda a, b: F.huber_loss(a, b, reduction="sum"),
}


@pytest.mark.parametrize("name", EXACT)
def test_what_both_lack_is_no_distance(name: str) -> None:
    model = network(EXACT[name])
    plan, small = pruned(model, IMAGE)
    assert plan.removed == 3 and plan.exact and small.prunus.mode == "eager"
    again = torch.randn(3, 3, 5, 4, dtype=torch.float64)
    assert difference(prunus.mask(model, plan), small, again) < 1e-12
    assert small.b.out_channels == 3


def test_an_average_that_cannot_keep_its_width_is_told() -> None:
    plan, _ = pruned(network(F.huber_loss), IMAGE)
    assert plan.removed == 3 and not plan.exact and "huber_loss across the channels" in " ".join(plan.notes)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_what_is_far_from_a_constant_is_told(reduction: str) -> None:
    plan, _ = pruned(network(lambda a, b: F.mse_loss(a, b.sigmoid(), reduction=reduction)), IMAGE)
    assert plan.removed == 3 and not plan.exact
