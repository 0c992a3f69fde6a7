"""What the shortened schedule is that costs as much as an accelerated training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from prunus.methods.soft import Softened
from prunus.runs.control import control
from prunus.training import EpochRecord, History, TrainConfig


def history(samples: list[int], **settings: Any) -> History:
    epochs = [EpochRecord(n + 1, 1.0, None, None, 0.1, 1.0, samples=count) for n, count in enumerate(samples)]
    return History(TrainConfig(epochs=len(samples), **settings), tuple(epochs), len(samples))


@dataclass
class Cost:
    macs: int


@dataclass
class Plan:
    before: Cost
    after: Cost


@dataclass
class Removed:
    found: dict[str, Any]
    plan: Plan


def removed(smaller: bool) -> Any:
    return Removed({"record": (Softened(1, 0.3, {}, 0),), "smaller": smaller}, Plan(Cost(100), Cost(50)))


@pytest.mark.parametrize(
    ("training", "outcome", "epochs"),
    [
        (history([100, 100, 60, 60, 60]), None, 4),  # 3.8
        (history([100] * 4, first_size=0.5, full_size_from=0.5), None, 3),  # 1/4, 9/16 and twice 1
        (history([100] * 4), removed(smaller=True), 3),
        (history([1, 1]), None, 1),
        (history([100] * 4), removed(smaller=False), None),
        (history([100] * 4), None, None),
        (history([0, 0]), None, None),
        (None, None, None),
    ],
)
def test_the_control_costs_as_much(training: History | None, outcome: Any, epochs: int | None) -> None:
    found = control(training, 100, outcome)
    assert (None if found is None else found["epochs"]) == epochs
    assert found is None or (training is not None and found["of"] == len(training.epochs))
