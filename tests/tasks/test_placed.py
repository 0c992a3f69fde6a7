"""Inputs where a model lies, in the type of its numbers: whole numbers and targets stay what they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from prunus.data import load
from prunus.tasks import Task
from prunus.tasks.placed import Placed, example_of, moved, one_of, placed

DIGITS = load("digits")
TASK = Task(DIGITS.train, normalise=DIGITS.normalise)


def of(kind: torch.dtype) -> nn.Module:
    return nn.Conv2d(1, 2, 3).to(kind)


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_calibration_inputs_have_the_type_of_the_model_every_time(kind: torch.dtype) -> None:
    inputs = Placed(TASK.calibration(100), of(kind))
    first, again = list(inputs), list(inputs)
    assert {one.dtype for one in first} == {kind} and sum(map(len, first)) == 100
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    plain = list(TASK.calibration(100))
    assert all(torch.equal(one, other.to(kind)) for one, other in zip(first, plain, strict=True))
    assert {labels.dtype for _, labels in inputs.pairs()} == {torch.int64}
    assert example_of(TASK, of(kind)).dtype == kind and len(example_of(TASK, of(kind))) == 1


def test_inputs_of_any_form_are_placed() -> None:
    given: dict[str, Any] = {"x": torch.ones(2), "where": [torch.arange(3), "name"]}
    found = placed(given, of(torch.float64))
    assert found["x"].dtype == torch.float64
    assert found["where"][0].dtype == torch.int64 and found["where"][1] == "name"
    assert moved(given, of(torch.float64))["x"].dtype == torch.float32
    assert given["x"].dtype == torch.float32  # not changed


def test_they_lie_where_the_model_lies() -> None:
    there = nn.Linear(2, 2, device="meta")
    assert placed((torch.ones(1, 2),), there)[0].device.type == "meta"
    assert moved([torch.ones(2)], there)[0].device.type == "meta"


def test_one_sample_leaves_whole_what_all_share() -> None:
    inputs: dict[str, Any] = {
        "x": torch.randn(5, 3, 8),
        "table": torch.randn(4, 4),
        "share": torch.tensor(0.5),
        "mask": None,
    }
    found = one_of(inputs)
    assert found["x"].shape == (1, 3, 8) and torch.equal(found["x"][0], inputs["x"][0])
    assert found["table"].shape == (4, 4) and float(found["share"]) == 0.5 and found["mask"] is None
    task = Task([(inputs, torch.zeros(5))])
    assert {name: getattr(one, "shape", one) for name, one in task.example_inputs().items()} == {
        "x": (1, 3, 8),
        "table": (4, 4),
        "share": (),
        "mask": None,
    }
