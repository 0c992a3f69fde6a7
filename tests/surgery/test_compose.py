"""Two plans in a row are one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunus
from prunus import models, scores
from prunus.errors import PlanError
from prunus.surgery.compose import compose

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
