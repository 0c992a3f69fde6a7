"""Segmentation as a task: a bound by picture, and no pixels that nobody knows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from prunus._foundation.confidence import Rows, judged
from prunus.methods.common import Target
from prunus.methods.one_shot import one_shot
from prunus.tasks import MeanIoU, Task
from prunus.training import TrainConfig

SHORT = TrainConfig(epochs=1, batch_size=50, lr=0.05)


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
