"""The one call: what it takes for granted where nothing is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.paint.nets import randomised
from torch import nn

import prunus
from prunus import data, models
from prunus.errors import TargetError
from prunus.methods import shrinking
from prunus.tasks import Task

DIGITS = data.load("digits")
TASK = Task(DIGITS.train.subset(torch.arange(64)), normalise=DIGITS.normalise)
EXAMPLE = torch.zeros(1, 1, 8, 8)


def network() -> nn.Module:
    return randomised(models.lenet5(image_size=8)).float()


@pytest.mark.parametrize(
    ("task", "wish", "score", "compensates", "scope"),
    [
        (None, {"rate": 0.5}, "norm-l2", False, "uniform"),
        (TASK, {"macs": 0.5}, "reconstruction", True, "measured"),
        (TASK, {"params": 0.5, "score": "norm-l1"}, "norm-l1", True, "measured"),
        (TASK, {"bytes": 0.5, "scope": "uniform"}, "reconstruction", True, "uniform"),
        (TASK, {"rate": 0.5}, "reconstruction", True, "uniform"),
        (TASK, {"tolerance": 1.0}, "reconstruction", True, "uniform"),
        (None, {"macs": 0.5}, "norm-l2", False, "uniform"),
        (TASK, {"latency": 0.5}, "reconstruction", True, "measured"),
        (TASK, {"latency": 0.5, "score": "norm-l1"}, "norm-l1", True, "measured"),
        (None, {"latency": 0.5}, "norm-l2", False, "uniform"),
        (TASK, {"rate": 0.5, "compensate": "none", "scope": "global"}, "reconstruction", False, "global"),
        (TASK, {"blocks": 2}, "norm-l2", True, "uniform"),
    ],
)
def test_what_is_not_said_follows_from_the_task_and_the_target(
    task: Task | None,
    wish: dict[str, Any],
    score: str,
    compensates: bool,
    scope: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}
    named: list[str] = []
    monkeypatch.setattr(shrinking, "one_shot", lambda model, task, **options: asked.update(options))
    monkeypatch.setattr(shrinking, "score_named", lambda name, task, seed: named.append(name))
    shrinking.shrink(network(), task, **wish)
    assert named == [score] and (asked["compensate"] is not None) is compensates
    kind, value = next((k, v) for k, v in ({"rate": 0.0} | wish if "blocks" in wish else wish).items())
    assert (asked["target"].kind, asked["target"].value, asked["target"].scope) == (kind, value, scope)


def test_it_is_prune_without_data_too() -> None:
    outcome = prunus.shrink(network(), None, rate=0.5, example_inputs=EXAMPLE)
    graph = prunus.trace(network(), EXAMPLE)
    wanted = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    assert outcome.plan.groups == wanted.groups and outcome.verification.exact and not outcome.steps


@pytest.mark.parametrize("figures", [{}, {"rate": 0.5, "macs": 0.5}])
def test_exactly_one_target_is_wanted(figures: dict[str, float]) -> None:
    with pytest.raises(TargetError, match="Give one target of rate, macs"):
        prunus.shrink(network(), TASK, **figures)  # type: ignore[arg-type]
