"""What becomes a channel, and what a plan says of it."""

from __future__ import annotations

import torch
from tests.paint.nets import randomised
from torch import nn

import prunus

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def chain(*layers: nn.Module, head: nn.Module | None = None) -> nn.Module:
    return randomised(nn.Sequential(*layers, head if head is not None else nn.Identity()))


def test_a_plan_that_removes_nothing_inexact_has_no_notes() -> None:
    graph = prunus.trace(
        chain(nn.Conv2d(3, 6, 1), nn.GroupNorm(1, 6), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 2, 1)), IMAGE
    )
    plan = prunus.plan(graph, prunus.scores.norm(graph), rates={"2": 0.5})
    assert plan.removed == 2
    assert plan.exact
