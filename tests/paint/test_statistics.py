"""Which statistics over channels keep their width, however the forward is written."""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import Net, difference, pruned, random_plan, randomised
from torch import Tensor, nn

import prunus

IMAGE = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def layer_normed() -> nn.Module:
    layers = (
        nn.Conv2d(3, 8, 1),
        nn.GroupNorm(1, 8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.GroupNorm(1, 6),
        nn.ReLU(),
        nn.Conv2d(6, 2, 1),
    )
    return randomised(nn.Sequential(*layers))


def test_plain_norms_are_said_to_be_inexact() -> None:
    model = layer_normed()
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan, norms="plain")
    assert plan.exact and not small.prunus.plan.exact
    assert "group norm across the channels" in small.prunus.plan.notes[0]
    assert type(small[1]) is nn.GroupNorm
    assert difference(prunus.mask(model, plan), small, IMAGE) > 1e-3
    with pytest.raises(prunus.PrunusError, match=r"norms must be 'original' or 'plain', not 'wide'\."):
        prunus.compact(model, plan, norms="wide")  # type: ignore[arg-type]


def test_one_norm_that_is_used_at_two_places_keeps_both_widths() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        return m.last(m.norm(m.b(m.norm(m.a(x)))))

    model = randomised(
        Net(run, a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 8, 1), norm=nn.GroupNorm(1, 8), last=nn.Conv2d(8, 2, 1))
    )
    plan, _ = pruned(model, IMAGE)
    assert plan.exact and plan.removed == 4


def test_norms_inside_one_another_count_their_own_statistics() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.last = nn.Conv2d(3, 8, 1), nn.GroupNorm(1, 8), nn.Conv2d(8, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            y = self.norm(y - y.mean((2, 3), keepdim=True))
            z = self.last(y.relu())
            return z - z.mean(1, keepdim=True)

    model = randomised(nn.Sequential(Outer(), nn.Conv2d(8, 2, 1)))
    plan, _ = pruned(model, IMAGE)
    assert plan.exact and plan.removed == 8
