"""Two plans in a row are one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import prunus
from prunus import models, scores
from prunus.errors import PlanError
from prunus.plans.plan import make_plan
from prunus.surgery.compose import compose, whole_channels

EXAMPLE = torch.zeros(1, 1, 8, 8)


@pytest.fixture
def dense() -> nn.Module:
    torch.manual_seed(0)
    return models.lenet5(image_size=8).eval()


def test_two_plans_are_one(dense: nn.Module) -> None:
    graph = prunus.trace(dense, EXAMPLE)
    first = prunus.plan(graph, scores.norm(graph), rate=0.4)
    small = prunus.compact(dense, first)
    inner = prunus.trace(small, EXAMPLE)
    second = prunus.plan(inner, scores.random(inner, 3), rate=0.5)
    both = compose(dense, first, second)
    wanted = prunus.compact(small, second)
    found = prunus.compact(dense, both)
    assert both.removed == first.removed + second.removed
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), wanted.parameters(), strict=True))
    third = prunus.plan(prunus.trace(wanted, EXAMPLE), scores.norm(prunus.trace(wanted, EXAMPLE)), rate=0.5)
    again = prunus.compact(dense, compose(dense, both, third))
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.parameters(), prunus.compact(wanted, third).parameters(), strict=True)
    )


def test_plans_of_other_models_do_not_follow(dense: nn.Module) -> None:
    graph = prunus.trace(dense, EXAMPLE)
    first = prunus.plan(graph, scores.norm(graph), rate=0.5)
    other = prunus.trace(models.resnet20(), torch.zeros(1, 3, 32, 32))
    with pytest.raises(PlanError, match="The second plan removes slots"):
        compose(dense, first, prunus.plan(other, scores.norm(other), rate=0.5))
    with pytest.raises(PlanError, match="that the first one does not leave"):
        compose(dense, first, prunus.plan(graph, -scores.norm(graph), rate=0.9))


def test_steps_leave_channels_of_the_first_network_whole_or_none() -> None:
    """Each half of a group norm's groups is one channel; of one group, each slot is."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU()]
    dense, image = nn.Sequential(*layers, nn.Conv2d(6, 2, 1)).eval(), torch.randn(1, 3, 8, 8)
    graph = prunus.trace(dense, image)
    first = make_plan(graph, np.arange(graph.num_channels) == 0)
    small = prunus.compact(dense, first)
    inner = prunus.trace(small, image)
    assert (graph.num_channels, inner.num_channels) == (2 + 6, 4 + 6)
    second = make_plan(inner, np.isin(np.arange(10), (1, 2, 4, 9)))
    with pytest.raises(PlanError, match="a part of what is one channel of Sequential"):
        compose(dense, first, second)
    whole = whole_channels(dense, first, second)
    assert np.flatnonzero(whole.removed_in(inner)).tolist() == [4, 9]
    found, wanted = prunus.compact(dense, compose(dense, first, whole)), prunus.compact(small, whole)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), wanted.parameters(), strict=True))
    assert whole_channels(dense, None, second) is second
    assert whole_channels(dense, first, whole).removed == 2
