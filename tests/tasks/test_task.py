"""Tasks: the same answers from samples and from batches, metrics of every kind, and losses that a model
returns of itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from prunus import data
from prunus._foundation.confidence import Rows, judged
from prunus.errors import ConfigError, DataError
from prunus.methods.common import Target
from prunus.methods.one_shot import one_shot
from prunus.tasks import MeanIoU, Task, squared_error
from prunus.training import TrainConfig, batches, evaluate

DIGITS = data.load("digits")
FEW = DIGITS.train.subset(torch.arange(200))
HELD = DIGITS.train.subset(torch.arange(200, 300))
SHORT = TrainConfig(epochs=1, batch_size=50, lr=0.05)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def pairs(split: data.Split, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(batches(split, DIGITS.normalise, size))


def test_samples_and_batches_give_the_same_figures() -> None:
    model = network().eval()
    whole = Task(FEW, HELD, DIGITS.test, normalise=DIGITS.normalise)
    stream = Task(pairs(FEW, 50), pairs(HELD, 30), pairs(DIGITS.test, 70))
    assert torch.equal(whole.points(model), stream.points(model))  # type: ignore[arg-type]  # tensors, as top-1 accuracy has a number per sample
    found = evaluate(model, DIGITS.test, DIGITS.normalise)
    for task in (whole, stream):
        value, loss = task.figures(model)
        assert value == pytest.approx(found.accuracy) and loss == pytest.approx(found.loss, rel=1e-5)
    assert torch.equal(whole.example_inputs(), pairs(FEW, 1)[0][0]) and stream.example_inputs().shape == (
        1,
        1,
        8,
        8,
    )


def test_the_model_stays_as_it_was() -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Task(
        FEW,
        HELD,
        normalise=DIGITS.normalise,
        metric=lambda outputs, targets: (outputs.argmax(1) == targets).float(),
    ).points(model)
    assert model.training and all(
        torch.equal(value, before[name]) for name, value in model.state_dict().items()
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_network_of_any_task_is_pruned_to_a_tolerance(stream: bool) -> None:
    task = Task(FEW, HELD, DIGITS.test, normalise=DIGITS.normalise)
    if stream:
        task = Task(pairs(FEW, 50), pairs(HELD, 50), pairs(DIGITS.test, 70))
    model = network()
    task.fit(model, TrainConfig(epochs=3, batch_size=50, lr=0.05))
    outcome = one_shot(
        model,
        task,
        score=lambda graph: prunus.scores.norm(graph),
        target=Target("tolerance", 20.0),
        config=SHORT,
        trial_config=SHORT,
    )
    assert outcome.plan.removed and outcome.limit is not None and outcome.tuning is not None
    assert [step.step for step in outcome.steps][:2] == ["before", "after removal"]
    assert outcome.steps[-1].value == pytest.approx(task.value(outcome.model))
    accepted = [trial for trial in outcome.trials if trial.accepted]
    assert all(outcome.limit.baseline - trial.lowest <= 20.0 for trial in accepted)


# -- segmentation --------------------------------------------------------------------------------------------


def stripes(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Pictures with a bright stripe, one each, and masks; the last row is void."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        mask = torch.zeros(1, 12, 12, dtype=torch.int64)
        top = int(torch.randint(8, (), generator=draw))
        mask[:, top : top + 4] = 1
        image = torch.rand(1, 3, 12, 12, generator=draw) + 2 * mask[:, None]
        mask[:, -1] = 7
        found.append((image, mask))
    return found


def segmenter() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 2, 1),
    )


def pixel_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, ignore_index=7, reduction="none").mean((1, 2))


def test_segmentation_has_a_bound_by_picture_and_no_void_pixels() -> None:
    task = Task(stripes(24, 0), stripes(20, 1), stripes(6, 2), loss=pixel_loss, metric=MeanIoU(ignore=7))
    model = segmenter()
    task.fit(model, TrainConfig(epochs=4, batch_size=1, lr=0.02))
    points = task.points(model)
    assert isinstance(points, Rows)
    with torch.no_grad():
        right = total = 0
        for image, mask in stripes(20, 1):
            found, known = model.eval()(image).argmax(1) == 1, mask != 7
            right += int((found & (mask == 1) & known).sum())
            total += int(((found | (mask == 1)) & known).sum())
    assert task.value(model, "validation") == pytest.approx(100 * right / total)
    other = segmenter()
    _, lowest = judged(points, task.points(other), 0.9)
    assert lowest < task.value(other, "validation")
    outcome = one_shot(
        model, task, score=lambda graph: prunus.scores.norm(graph), target=Target("rate", 0.25), config=SHORT
    )
    assert outcome.steps[-1].value == pytest.approx(task.value(outcome.model))


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
    assert rows.points(rows.each) == pytest.approx(
        slow_map(found, there), abs=1e-9
    )  # asked again, it says the same


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


# -- regression, and what is refused -------------------------------------------------------------------------


def test_regression_and_any_loss() -> None:
    draw = torch.Generator().manual_seed(0)
    signals = [
        (x := torch.randn(10, 2, 16, generator=draw), x.mean((1, 2), keepdim=False)[:, None])
        for _ in range(12)
    ]
    task = Task(signals, signals[:4], signals[4:8], loss=F.mse_loss, metric=squared_error)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 1)
    )
    before = task.value(model)
    task.fit(model, TrainConfig(epochs=10, batch_size=10, lr=0.02, optimizer="adam"))
    value, loss = task.figures(model)
    assert before < value < 0 and loss == pytest.approx(-value, rel=1e-5)
    rest = [0.0]
    task.fit(model, SHORT, besides=lambda: rest.append(1.0) or 0.0 * next(model.parameters()).sum())  # type: ignore[func-returns-value]
    assert sum(rest) == 12


def once() -> Iterator[tuple[Tensor, Tensor]]:
    yield torch.zeros(1), torch.zeros(1)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Task(FEW), DataError, r"pixels from 0 to 255: the task needs normalise"),
        (lambda: Task(once()), ConfigError, "batches that can be read again"),  # type: ignore[arg-type]
        (lambda: Task(pairs(FEW, 10), loss="mine"), ConfigError, "A loss is a function"),  # type: ignore[arg-type]
        (lambda: Task(pairs(FEW, 10), metric=3), ConfigError, "A metric is a function"),  # type: ignore[arg-type]
        (lambda: Task(pairs(FEW, 10)).points(network()), DataError, "no validation samples"),
        (lambda: Task(pairs(FEW, 10)).samples("train"), ConfigError, "works on samples in memory"),
        (lambda: Task([torch.zeros(3)]).example_inputs(), DataError, r"must be a pair \(inputs, targets\)"),
        (
            lambda: Task(pairs(FEW, 10), pairs(FEW, 10)).points(nn.Conv2d(1, 3, 3)),
            ConfigError,
            "give the task a metric of its own",
        ),
        (
            lambda: Task(pairs(FEW, 10), pairs(FEW, 10), metric=lambda o, t: o).points(network()),
            ConfigError,
            "one number per sample",
        ),
    ],
)
def test_what_a_task_is_not_is_told_in_a_sentence(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
