"""Scores and compensations by name are those of the library."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.paint.nets import difference, randomised
from torch import nn

import prunus
from prunus import data, models, scores
from prunus.errors import ConfigError
from prunus.methods.named import (
    COMPENSATIONS,
    OF_INPUTS,
    OF_LABELS,
    OF_WEIGHTS,
    compensation_named,
    score_named,
)
from prunus.tasks import Task

DIGITS = data.load("digits")
TASK = Task(DIGITS.train.subset(torch.arange(64)), normalise=DIGITS.normalise)


def network() -> nn.Module:
    return randomised(models.lenet5(image_size=8)).float()


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("norm-l1", scores.norm, {"p": 1}),
        ("norm-l2", scores.norm, {"p": 2}),
        ("geometric-median", scores.geometric_median, {}),
        ("random", scores.random, {"seed": 4}),
    ],
)
def test_a_name_is_its_function(name: str, function: Any, options: dict[str, Any]) -> None:
    graph = prunus.trace(network(), torch.zeros(1, 1, 8, 8))
    assert torch.equal(score_named(name, None, 4)(graph), function(graph, **options))


def test_scores_that_look_at_samples_get_those_of_the_task() -> None:
    graph = prunus.trace(network(), torch.zeros(1, 1, 8, 8))
    wanted = scores.activation_mean(graph, TASK.calibration(seed=1))
    assert torch.equal(score_named("activation-mean", TASK, 1)(graph), wanted)
    loss = nn.functional.cross_entropy
    wanted = scores.taylor(graph, TASK.calibration(seed=1).pairs(), loss)
    torch.testing.assert_close(score_named("taylor", TASK, 1)(graph), wanted)


@pytest.mark.parametrize("name", [*OF_INPUTS, *OF_LABELS, "refit", "means"])
def test_without_samples_those_that_look_at_them_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} looks at training samples, and there are none"):
        (compensation_named if name in COMPENSATIONS else score_named)(name, None)


def test_unknown_names_are_told_with_all_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no score 'size'; there are norm-l1, .*, car"):
        score_named("size", None)
    with pytest.raises(ConfigError, match="no compensation 'luck'; there are refit, means, merge, none"):
        compensation_named("luck", None)
    assert len({*OF_WEIGHTS, *OF_INPUTS, *OF_LABELS}) == 15


def test_the_compensation_is_refitting_where_there_are_samples() -> None:
    assert compensation_named(None, None) is None and compensation_named("none", TASK) is None
    model = network()
    graph = prunus.trace(model, torch.zeros(1, 1, 8, 8))
    plan = prunus.plan(graph, scores.norm(graph), rate=0.5)
    by_default, by_name = (compensation_named(name, TASK) for name in (None, "refit"))
    assert by_default is not None and by_name is not None
    first, second = (made(model, plan, lambda done, total: None) for made in (by_default, by_name))
    x = torch.randn(2, 1, 8, 8)
    assert difference(first, second, x) == 0 and difference(first, prunus.mask(model, plan), x) > 1e-3
