"""Detectors: trained on their own losses, judged as COCO does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.confidence import Rows, value_of
from prunus.errors import ConfigError, DataError
from prunus.tasks import MeanAveragePrecision, Task
from prunus.training import TrainConfig

# -- detection -----------------------------------------------------------------------------------------------


class Detector(nn.Module):
    """One box per picture, as torchvision's detectors are called: losses in training, boxes with scores
    otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)
        )

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        found = self.features(torch.stack(list(images)))
        if self.training:
            assert targets is not None
            wanted = torch.stack([target["boxes"][0] for target in targets]) / 16
            return {"boxes": F.smooth_l1_loss(found, wanted), "size": 0 * found.sum()}
        return [
            {"boxes": 16 * box[None], "labels": torch.ones(1, dtype=torch.int64), "scores": torch.ones(1)}
            for box in found
        ]


def squares(count: int, seed: int) -> list[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        images, targets = [], []
        for _ in range(4):
            left, top = torch.randint(8, (2,), generator=draw).tolist()
            image = torch.zeros(1, 16, 16)
            image[:, top : top + 8, left : left + 8] = 1
            images.append(image)
            box = torch.tensor([[left, top, left + 8, top + 8]], dtype=torch.float32)
            targets.append({"boxes": box, "labels": torch.ones(1, dtype=torch.int64)})
        found.append((images, targets))
    return found


def test_a_detector_trains_on_its_own_losses_and_is_judged_by_its_boxes() -> None:
    pytest.importorskip("pycocotools", reason="the extra detection is not installed")
    from prunus.tasks import MeanAveragePrecision

    task = Task(squares(20, 0), squares(5, 1), squares(5, 2), loss="model", metric=MeanAveragePrecision(0.5))
    torch.manual_seed(0)
    model = Detector()
    start = task.value(model)
    history = task.fit(model, TrainConfig(epochs=15, batch_size=4, lr=0.01, optimizer="adam", weight_decay=0))
    assert history.epochs[-1].loss < history.epochs[0].loss / 2
    found = task.value(model)
    assert start < found <= 100 and math.isnan(task.figures(model)[1])
    points = task.points(model)
    assert (
        isinstance(points, Rows)
        and len(points.each) == 20
        and points.points(points.each) == pytest.approx(task.value(model, "validation"))
    )


def test_precision_is_that_of_coco() -> None:
    """Beside pycocotools' own way through its files, and on pictures drawn twice."""
    pytest.importorskip("pycocotools", reason="the extra detection is not installed")
    from prunus.tasks import MeanAveragePrecision

    draw = torch.Generator().manual_seed(0)

    def boxes(count: int) -> Tensor:
        corner = 30 * torch.rand(count, 2, generator=draw)
        return torch.cat([corner, corner + 10 + 10 * torch.rand(count, 2, generator=draw)], 1)

    there, found = [], []
    for picture in range(6):
        own = boxes(1 + picture % 3)
        labels = torch.randint(1, 3, (len(own),), generator=draw)
        there.append({"boxes": own, "labels": labels})
        near = torch.cat([own + torch.randn(own.shape, generator=draw), boxes(2)])
        found.append(
            {
                "boxes": near,
                "labels": torch.cat([labels, torch.tensor([1, 2])]),
                "scores": torch.rand(len(near), generator=draw),
            }
        )
    metric = MeanAveragePrecision()
    rows = metric.points(metric.entries(found, there))
    assert isinstance(rows, Rows)
    assert rows.points(rows.each) == pytest.approx(slow_map(found, there), abs=1e-9)
    twice = metric.points(metric.entries(found + found[:2], there + there[:2]))
    assert isinstance(twice, Rows)
    assert rows.points([*rows.each, *rows.each[:2]]) == pytest.approx(twice.points(twice.each))
    # asked again, it says the same
    assert rows.points(rows.each) == pytest.approx(slow_map(found, there), abs=1e-9)


def slow_map(found: list[dict[str, Tensor]], there: list[dict[str, Tensor]]) -> float:
    """Average precision by hand: boxes in the order of their scores take the best free one; precision at 101
    recalls, made monotone.
    """
    values = []
    for label in (1, 2):
        for threshold in [0.5 + 0.05 * step for step in range(10)]:
            events: list[tuple[float, bool]] = []
            total = sum(int((one["labels"] == label).sum()) for one in there)
            for guess, true in zip(found, there):
                mine = sorted(
                    (
                        (float(s), b)
                        for b, s, k in zip(guess["boxes"], guess["scores"], guess["labels"])
                        if int(k) == label
                    ),
                    key=lambda one: -one[0],
                )
                free = [b for b, k in zip(true["boxes"], true["labels"]) if int(k) == label]
                for score, box in mine:
                    overlaps = [iou(box, other) for other in free]
                    hit = bool(overlaps) and max(overlaps) >= threshold
                    if hit:
                        free.pop(overlaps.index(max(overlaps)))
                    events.append((score, hit))
            events.sort(key=lambda one: -one[0])
            hits, curve = 0, []
            for place, (_, hit) in enumerate(events, 1):
                hits += hit
                curve.append((hits / total, hits / place))
            values.append(
                sum(
                    max((p for r, p in curve if r >= recall / 100 - 1e-12), default=0.0)
                    for recall in range(101)
                )
                / 101
            )
    return 100 * sum(values) / len(values)


def iou(a: Tensor, b: Tensor) -> float:
    low, high = torch.maximum(a[:2], b[:2]), torch.minimum(a[2:], b[2:])
    both = float((high - low).clamp(min=0).prod())
    return both / (float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - both)


ONE = {"boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0]]), "labels": torch.tensor([1])}
FOUND = {**ONE, "scores": torch.tensor([0.5])}


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ([{"boxes": ONE["boxes"]}], "needs boxes and labels of every picture, in its targets"),
        ([None], "in its targets, not None"),
        (torch.zeros(1, 5), "one dictionary of boxes per picture"),
        (ONE, "one dictionary of boxes per picture"),
        ([], "one dictionary of boxes per picture"),
        ([{**ONE, "labels": torch.tensor([1, 2])}], r"boxes of \(1, 4\) beside labels of \(2,\)"),
        ([{**ONE, "boxes": torch.zeros(1, 5)}], r"boxes of \(1, 5\)"),
        ([{**ONE, "labels": ["cat"]}], "The labels of a picture must be numbers"),
        ([{**ONE, "boxes": torch.full((1, 4), math.nan)}], "hold numbers that are none"),
    ],
)
def test_what_are_no_boxes_is_told(targets: Any, told: str) -> None:
    """It was a KeyError, or counted for something."""
    pytest.importorskip("pycocotools", reason="the extra detection is not installed")
    with pytest.raises((ConfigError, DataError), match=told):
        MeanAveragePrecision().entries([FOUND], targets)


def test_boxes_that_are_no_numbers_match_nothing() -> None:
    """COCO's code took them for hits: a network that has diverged had 100 points."""
    pytest.importorskip("pycocotools", reason="the extra detection is not installed")
    metric = MeanAveragePrecision()

    def points(found: Any) -> float:
        return round(value_of(metric.points(metric.entries([found], [ONE]))), 6)

    assert points(FOUND) == 100.0
    assert points({key: value.numpy() for key, value in FOUND.items()}) == 100.0
    for key, wrong in (("boxes", math.nan), ("boxes", math.inf)):
        assert points({**FOUND, key: torch.full_like(FOUND[key], wrong)}) == 0.0
    first = {key: value.repeat(2, *[1] * (value.dim() - 1)) for key, value in FOUND.items()}
    assert points({**first, "scores": torch.tensor([math.nan, 0.5])}) == 100.0
    empty = {"boxes": torch.zeros(0), "labels": torch.zeros(0), "scores": torch.zeros(0)}
    assert points(empty) == 0.0


def test_settings_of_the_metric_are_checked() -> None:
    for wrong, told in ((5.0, "above 0 up to 1, not 5.0"), (0.0, "above 0"), ("0.5", "must be a number")):
        with pytest.raises(ConfigError, match=told):
            MeanAveragePrecision(threshold=wrong)  # type: ignore[arg-type]
