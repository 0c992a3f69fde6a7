"""The graph that belongs to a model and a plan."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.paint.nets import random_plan, randomised
from torch import nn

import prunus
from prunus.errors import PlanError
from prunus.models import lenet5
from prunus.plans.plan import Plan

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def net(middle: int = 8) -> nn.Module:
    return randomised(
        nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6),
            nn.Sigmoid(),
            nn.Conv2d(6, middle, 1),
            nn.ReLU(),
            nn.Conv2d(middle, 2, 3, padding=1),
        )
    )


@pytest.mark.parametrize(
    "call",
    [
        prunus.mask,
        prunus.compact,
        lambda m, p: prunus.verify(m, p, m),
        lambda m, p: prunus.trace(m, IMAGE).cost(p),
    ],
)
def test_a_plan_for_another_model_is_refused_by_name(call: Any) -> None:
    plan = random_plan(prunus.trace(net(), IMAGE))
    other = net(4)
    before = [p.clone() for p in other.parameters()]
    with pytest.raises(PlanError, match="Sequential"):
        call(other, plan)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters()))
    with pytest.raises(PlanError, match=r"LeNet5 has no parameter 0\.weight"):
        prunus.mask(lenet5(), plan)


def test_a_plan_from_json_is_carried_out_on_a_model_of_another_type() -> None:
    plan = Plan.from_json(random_plan(prunus.trace(net(), IMAGE)).to_json())
    small = prunus.compact(net().float(), plan)
    assert small(IMAGE.float()).dtype == torch.float32
