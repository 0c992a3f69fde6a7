"""What a model is called with, as text, and back."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import prunus
from prunus._foundation.sizes import MOST_ELEMENTS
from prunus.errors import PlanError
from prunus.plans.described import describe_if_possible, describe_inputs, rebuild_inputs
from prunus.plans.plan import Plan


def test_what_is_read_is_what_was_written() -> None:
    inputs = ((torch.zeros(1, 3, 8, 8), [torch.zeros(2, dtype=torch.int64), None]), {"scale": 2.0})
    (image, rest), kwargs = rebuild_inputs(describe_inputs(inputs))
    assert image.shape == (1, 3, 8, 8) and image.is_meta and kwargs == {"scale": 2.0}
    assert rest[0].dtype == torch.int64 and rest[1] is None


def test_inputs_of_other_types_leave_a_plan_without_them() -> None:
    assert describe_if_possible(((object(),), {})) == ""
    with pytest.raises(PlanError, match="does not say what its model is called with"):
        rebuild_inputs("")


@pytest.mark.parametrize(
    "inputs",
    [
        "[[1], {}]",
        '{"tensor": [[1, 2], 7]}',
        '{"tensor": [[1, 2], "nn"]}',
        '{"tensor": [[-1], "float32"]}',
        "[" * 5000,
        "3",
    ],
)
def test_inputs_that_no_tensor_has_are_refused(inputs: str) -> None:
    with pytest.raises(PlanError):
        rebuild_inputs(inputs)


@pytest.mark.parametrize("shapes", [[[2**29]], [[2**14, 2**15]], [[2**27], [2**27], [1]]])
def test_no_file_decides_how_much_memory_is_asked_for(shapes: list[list[int]]) -> None:
    """Neither by one input nor by all together."""
    tensors = tuple(torch.empty(shape, device="meta") for shape in shapes)
    text = json.dumps({"tuple": [{"tensor": [shape, "float32"]} for shape in shapes]})
    with pytest.raises(PlanError, match=f"it may say {MOST_ELEMENTS:,} at most"):
        rebuild_inputs(json.dumps({"tuple": [json.loads(text), {"dict": []}]}))
    assert (
        describe_if_possible((tensors, {})) == ""
    )  # so that whoever has such a model can still write a plan


def test_plans_with_too_large_inputs_are_refused_as_a_whole() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 2, 1))
    graph = prunus.trace(model, torch.zeros(1, 3, 4, 4))
    data = json.loads(prunus.plan(graph, prunus.scores.norm(graph), rate=0.5).to_json())
    data["inputs"] = data["inputs"].replace("[1, 3, 4, 4]", "[1, 3, 40000, 40000]")
    del data["sha256"]
    data["sha256"] = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    with pytest.raises(PlanError, match="4,800,000,000 numbers"):
        Plan.from_json(json.dumps(data))


class _Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@pytest.mark.parametrize(
    "inputs", [_Pair(torch.zeros(2), torch.zeros(2)), pack_sequence([torch.zeros(2, 3), torch.zeros(1, 3)])]
)
def test_tuples_with_names_leave_a_plan_without_inputs(inputs: Any) -> None:
    """Read back they were tuples without names, and the trace of a stored plan failed inside the forward."""
    assert describe_if_possible(((inputs,), {})) == ""
