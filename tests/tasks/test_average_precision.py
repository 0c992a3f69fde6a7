"""Average precision of drawn pictures, against COCO's own code on pictures that are there as often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from prunus.tasks import MeanAveragePrecision
from prunus.tasks.average_precision import Matched
from prunus.tasks.detection import _mean, _precisions

pytest.importorskip("pycocotools", reason="the extra detection is not installed")


def pictures(seed: int, count: int, ties: bool = False) -> list[Any]:
    """Entries with boxes near those that are there, others, and classes that are rare."""
    draw = np.random.default_rng(seed)
    outputs, targets = [], []
    for _ in range(count):
        there = draw.integers(0, 4)
        corners = draw.uniform(0, 40, (there, 2))
        boxes = np.concatenate([corners, corners + draw.uniform(5, 30, (there, 2))], axis=1)
        labels = draw.choice([1, 2, 7], size=there, p=[0.6, 0.35, 0.05])
        near = boxes + draw.normal(0, 3, boxes.shape)
        more = draw.integers(0, 3)
        others = draw.uniform(0, 20, (more, 4)) + np.array([0, 0, 20, 20])
        scores = draw.uniform(0, 1, there + more)
        outputs.append(
            {
                "boxes": np.concatenate([near, others]),
                "labels": np.concatenate([labels, draw.choice([1, 2, 9], size=more)]),
                "scores": scores.round(1) if ties else scores,
            }
        )
        targets.append({"boxes": boxes, "labels": labels})
    found: Any = MeanAveragePrecision().entries(
        [{key: torch.as_tensor(value) for key, value in one.items()} for one in outputs],
        [{key: torch.as_tensor(value) for key, value in one.items()} for one in targets],
    )
    return found


@pytest.mark.parametrize("threshold", [None, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_all_pictures_and_drawn_ones_are_judged_as_coco_does(seed: int, threshold: float | None) -> None:
    metric, entries = MeanAveragePrecision(threshold), pictures(seed, 12)
    rows: Any = metric.points(entries)
    whole = _mean(_precisions(metric._judge(entries)), 0.0)
    assert rows.points(rows.each) == whole and 0 < whole < 100
    draw = np.random.default_rng(seed)
    for _ in range(10):
        chosen = draw.integers(12, size=12).tolist()
        again = _mean(_precisions(metric._judge([entries[place] for place in chosen])), 0.0)
        assert rows.points([rows.each[place] for place in chosen]) == pytest.approx(again, abs=1e-9)


def test_equal_scores_keep_the_order_of_the_pictures() -> None:
    metric, entries = MeanAveragePrecision(), pictures(1, 20, ties=True)
    rows: Any = metric.points(entries)
    assert rows.points(rows.each) == _mean(_precisions(metric._judge(entries)), 0.0)


def test_classes_that_are_not_there_are_left_out() -> None:
    assert Matched([], np.linspace(0, 1, 101)).precisions([]).size == 0
    metric = MeanAveragePrecision()
    box = {"boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0]]), "labels": torch.tensor([3])}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    rows: Any = metric.points(
        metric.entries(
            [{**box, "scores": torch.tensor([0.9])}, {**nothing, "scores": torch.zeros(0)}], [box, nothing]
        )
    )
    assert rows.points(rows.each) == pytest.approx(100.0)
    assert rows.points([rows.each[1]] * 2) == 0.0  # nothing is there, and nothing was found
