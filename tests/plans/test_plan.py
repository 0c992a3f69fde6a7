"""Plans: JSON, combination, tables, and refusal of what does not fit."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.paint.nets import difference, random_plan, randomised
from torch import Tensor, nn

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


def test_json_round_trip() -> None:
    plan = random_plan(prunus.trace(net(), IMAGE))
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.to_json() == plan.to_json()
    assert json.loads(plan.to_json())["prunus_plan"] == 2


def test_a_plan_from_json_compacts_a_fresh_model_of_the_same_architecture() -> None:
    plan = Plan.from_json(random_plan(prunus.trace(net(), IMAGE)).to_json())
    model = randomised(net(), seed=5)
    small = prunus.compact(model, plan)
    assert difference(prunus.mask(model, plan), small, IMAGE) < 1e-12
    assert small[0].out_channels == 3
    assert prunus.trace(model, IMAGE).cost(plan) == plan.after


@pytest.mark.parametrize("inputs", [(IMAGE,), {"input": IMAGE}])
def test_json_keeps_the_form_of_the_inputs(inputs: Any) -> None:
    plan = Plan.from_json(random_plan(prunus.trace(net(), inputs)).to_json())
    assert prunus.compact(net(), plan).prunus.verification.relative < 1e-12


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "3",
        '{"prunus_plan": 3}',
        '{"prunus_plan": 1}',
        '{"prunus_plan": 1, "groups": 3}',
        "[" * 100_000,
        '"\ud800"',
    ],
)
def test_text_that_is_no_plan(text: str) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(text)


def change(data: dict[str, Any], key: str, value: Any) -> str:
    data = json.loads(json.dumps(data))
    data["groups"][0][key] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dim", 5),
        ("dim", "0"),
        ("removed", [99]),
        ("removed", [-1]),
        ("removed", [1.5]),
        ("removed", ["a"]),
        ("removed", [True]),
        ("parameter", "none"),
        ("parameter", 3),
    ],
)
def test_a_plan_whose_slots_do_not_exist_is_refused(key: str, value: Any) -> None:
    model = net()
    text = change(json.loads(random_plan(prunus.trace(model, IMAGE)).to_json()), key, value)
    with pytest.raises(PlanError):
        prunus.compact(model, Plan.from_json(text))


def test_union_and_difference() -> None:
    graph = prunus.trace(net(), IMAGE)
    first, second = random_plan(graph, 0.3, seed=1), random_plan(graph, 0.6, seed=2)
    a, b = first.removed_in(graph), second.removed_in(graph)
    assert ((first | second).removed_in(graph) == (a | b)).all()
    assert ((first - second).removed_in(graph) == (a & ~b)).all()
    assert (first - first).removed == 0
    assert (first | first) == replace(first, trials=())
    assert (first | second).after == graph.cost(first | second)


def test_union_of_plans_from_json_works_or_says_how() -> None:
    """The error must name something that exists."""
    from prunus.plans import plan as module

    plan = Plan.from_json(random_plan(prunus.trace(net(), IMAGE)).to_json())
    try:
        union = plan | plan
    except PlanError as error:
        assert "plan.attach(" not in str(error) or hasattr(plan, "attach"), (
            "the error names a method that a plan does not have"
        )
        assert module is not None
    else:
        assert union.removed == plan.removed


def test_plans_of_different_models_cannot_be_combined() -> None:
    with pytest.raises(PlanError, match="different models"):
        random_plan(prunus.trace(net(), IMAGE)) | random_plan(prunus.trace(net(4), IMAGE))


def test_print_is_a_table_with_totals_and_notes() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 6, 1), nn.LogSoftmax(1), nn.Conv2d(6, 2, 3, padding=1)))
    plan = random_plan(prunus.trace(model, IMAGE))
    for text in (str(plan), str(Plan.from_json(plan.to_json()))):
        assert [line.split()[:4] for line in text.splitlines() if line.startswith("0 ")] == [
            ["0", "6", "3", "50%"]
        ]
        assert "3 channels go" in text
        assert "inexact" in text


DIGIT = torch.randn(2, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


# -- plans ---------------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_a_plan_is_named() -> None:
    model = randomised(lenet5())
    graph = prunus.trace(model, DIGIT)
    text = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5).to_json().encode()
    rng, said = random.Random(0), 0
    for at in (*range(20), *(rng.randrange(len(text)) for _ in range(300))):
        changed = bytearray(text)
        changed[at] ^= 1 << rng.randrange(7)
        with pytest.raises(PlanError) as caught:
            prunus.Plan.from_json(changed.decode())
        said += "has been changed since it was written" in str(caught.value)
    assert said > 50


def test_a_plan_of_before_checksums_is_read() -> None:
    model = randomised(lenet5())
    graph = prunus.trace(model, DIGIT)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    data = json.loads(plan.to_json()) | {"prunus_plan": 1}
    del data["sha256"]
    assert prunus.Plan.from_json(json.dumps(data)) == plan
    with pytest.raises(PlanError):
        prunus.Plan.from_json(json.dumps(data | {"prunus_plan": 2}))


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.first(x)
        return self.last(features + torch.rand_like(features))


def test_files_hold_no_line_of_the_users_code(tmp_path: Path) -> None:
    """A note names the line that it is about, and files are given to strangers."""
    model = Noisy().eval()
    graph = prunus.trace(model, torch.randn(1, 3, 8, 8))
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    assert "test_plan.py" in plan.notes[0] and "rand_like(features)" in plan.notes[0]
    prunus.save(prunus.compact(model, plan), tmp_path / "a.safetensors")
    for written in (plan.to_json().encode(), (tmp_path / "a.safetensors").read_bytes()):
        assert b"rand" in written and b"test_plan.py" not in written and b"features" not in written
    assert not Plan.from_json(plan.to_json()).exact
