"""The part of a result that says how good networks are at every class."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prunus.runs.by_class import names_of, panel
from prunus.tasks import Mean, MeanIoU, Samples, Task, squared_error


class Told(nn.Module):
    """Says what was written down for it: inputs are the numbers of samples, (batch, 1)."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, numbers: Tensor) -> Tensor:
        return self.answers[numbers[:, 0].long()]


def of_numbers(targets: Tensor, **options: Any) -> Task:
    samples = Samples(torch.arange(len(targets)).float()[:, None], targets, batch_size=3)
    return Task(samples, test=samples, **options)


def logits(*classes: int, of: int = 3) -> Tensor:
    return nn.functional.one_hot(torch.tensor(classes), of).float()


def test_both_networks_are_told_class_by_class_with_their_names() -> None:
    task = of_numbers(torch.tensor([0, 0, 1, 1]), classes=("cat", "dog", "owl"))
    found = panel(task, Told(logits(0, 0, 1, 0)), Told(logits(0, 2, 1, 1)))
    assert found == {
        "figure": "accuracy",
        "counted": "samples",
        "rows": [
            {"label": 0, "name": "cat", "there": 2, "before": 100.0, "after": 50.0},
            {"label": 1, "name": "dog", "there": 2, "before": 50.0, "after": 100.0},
        ],
    }


def test_without_a_dense_network_nothing_is_said_of_it() -> None:
    found = panel(of_numbers(torch.tensor([0, 1])), None, Told(logits(0, 0)))
    assert found is not None and [row["before"] for row in found["rows"]] == [None, None]
    assert [(row["name"], row["after"]) for row in found["rows"]] == [("0", 100.0), ("1", 0.0)]


def test_what_is_no_number_is_none_so_that_json_can_say_it() -> None:
    maps = logits(0, 1, of=3)[:, :, None].expand(2, 3, 4)
    task = of_numbers(torch.zeros(2, 4, dtype=torch.int64), metric=MeanIoU(), loss=squared_error)
    found = panel(task, None, Told(maps))
    assert found is not None and found["rows"][2]["after"] is None
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("what", ["no task", "no test samples", "no classes"])
def test_where_there_are_no_classes_there_is_no_panel(what: str) -> None:
    task = of_numbers(torch.tensor([0, 1]), metric=Mean(lambda outputs, targets: outputs[:, 0]))
    if what == "no test samples":
        task = Task(task.train)
    assert panel(None if what == "no task" else task, None, Told(logits(0, 1))) is None


def test_labels_have_names_only_where_all_have_one() -> None:
    assert names_of([2, 0], ("a", "b", "c")) == ["c", "a"]
    assert names_of([1, 2], ("small", "large")) == ["1", "2"], (
        "of labels from 1 on nobody knows which name is whose"
    )
