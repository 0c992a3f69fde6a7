"""Metrics class by class, against slow and obvious versions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from prunus._foundation.confidence import Rows, value_of
from prunus.tasks import Accuracy, ByClass, Mean, MeanAveragePrecision, MeanIoU, squared_error

DRAW = torch.Generator().manual_seed(3)


def test_accuracy_of_a_class_is_the_share_of_its_samples_that_are_right() -> None:
    logits, targets = torch.randn(60, 4, generator=DRAW), torch.randint(3, (60,), generator=DRAW)
    metric = Accuracy()
    found = metric.by_class(metric.entries(logits, targets))
    guess = logits.argmax(1).tolist()
    for one in found:
        own = [guess[i] == one.label for i, label in enumerate(targets.tolist()) if label == one.label]
        assert one.there == len(own) and one.value == pytest.approx(100 * sum(own) / len(own))
    assert [one.label for one in found] == [0, 1, 2], "a class that is not there has no accuracy"
    mean = sum(one.value * one.there for one in found) / 60
    assert mean == pytest.approx(value_of(metric.points(metric.entries(logits, targets))))


@pytest.mark.parametrize("maps", [1, 3])
def test_iou_of_a_class_is_over_all_pixels_that_are_known(maps: int) -> None:
    logits = torch.randn(5, maps, 6, 7, generator=DRAW)
    targets = torch.randint(2, (5, 6, 7), generator=DRAW)
    targets[:, 0] = 9
    guess = (logits[:, 0] > 0).long() if maps == 1 else logits.argmax(1)
    metric = MeanIoU(ignore=9)
    found = metric.by_class(metric.entries(logits, targets))
    assert [one.label for one in found] == list(range(max(maps, 2)))
    for one in found:
        true, told = targets == one.label, (guess == one.label) & (targets != 9)
        assert one.there == int(true.sum())
        assert one.value == pytest.approx(100 * float((true & told).sum() / (true | told).sum()))


def test_iou_of_a_class_that_is_neither_there_nor_found_is_no_number() -> None:
    metric = MeanIoU()
    logits = torch.tensor([3.0, 1.0, -9.0])[None, :, None, None].expand(1, 3, 2, 2)
    found = metric.by_class(metric.entries(logits, torch.zeros(1, 2, 2, dtype=torch.int64)))
    assert [one.value for one in found[:1]] == [100.0] and math.isnan(found[2].value) and found[2].there == 0


def boxes(count: int, classes: int) -> dict[str, Tensor]:
    corners = 20 * torch.rand(count, 2, generator=DRAW)
    return {
        "boxes": torch.cat([corners, corners + 8 + 8 * torch.rand(count, 2, generator=DRAW)], 1),
        "labels": torch.randint(1, 1 + classes, (count,), generator=DRAW),
        "scores": torch.rand(count, generator=DRAW),
    }


def only(each: list[dict[str, Tensor]], label: int) -> list[dict[str, Tensor]]:
    return [{key: value[one["labels"] == label] for key, value in one.items()} for one in each]


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_ap_of_a_class_is_map_of_its_boxes_alone(threshold: float | None) -> None:
    pytest.importorskip("pycocotools", reason="the extra detection is not installed")
    there = [boxes(3, 2) for _ in range(6)]
    found = [
        {key: torch.cat([one[key], wrong[key]]) for key in one}
        for one, wrong in zip(there, [boxes(2, 3) for _ in there])
    ]
    metric = MeanAveragePrecision(threshold)
    entries = metric.entries(found, there)
    told = metric.by_class(entries)
    assert [one.label for one in told] == [1, 2, 3]
    for one in told[:2]:
        alone = metric.points(metric.entries(only(found, one.label), only(there, one.label)))
        assert isinstance(alone, Rows) and one.value == pytest.approx(value_of(alone))
        assert one.there == sum(int((each["labels"] == one.label).sum()) for each in there)
    assert math.isnan(told[2].value) and told[2].there == 0, "it is found, and never there"
    assert value_of(metric.points(entries)) == pytest.approx((told[0].value + told[1].value) / 2)


@pytest.mark.parametrize(
    ("metric", "knows"),
    [(Accuracy(), True), (MeanIoU(), True), (MeanAveragePrecision(), True), (Mean(squared_error), False)],
)
def test_whether_a_metric_knows_classes_is_told_by_what_it_has(metric: Any, knows: bool) -> None:
    assert isinstance(metric, ByClass) is knows
