"""Segmentation as a task: a bound by picture, and no pixels that nobody knows."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import prunus
from prunus._foundation.confidence import Rows, judged
from prunus.data.pictures import IGNORED
from prunus.errors import ConfigError, DataError
from prunus.methods.common import Target
from prunus.methods.one_shot import one_shot
from prunus.segmentation.losses import cross_entropy
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


class Under(nn.Module):
    """Returns logits as torchvision's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = segmenter()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.inner(x)}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logits_in_a_dictionary_are_trained_and_measured_alike(
    precision: Literal["float32", "bfloat16"],
) -> None:
    config = TrainConfig(epochs=1, batch_size=1, lr=0.02, precision=precision)
    train, held, test = (
        [(x, torch.where(y == 7, IGNORED, y)) for x, y in stripes(count, seed)]
        for seed, count in enumerate((6, 4, 4))
    )
    task = Task(train, held, test, loss=cross_entropy, metric=MeanIoU())
    plain, under = segmenter(), Under()
    histories = [task.fit(one, config) for one in (plain, under)]
    assert histories[0].epochs[0].loss == histories[1].epochs[0].loss
    for mine, theirs in zip(plain.state_dict().values(), under.inner.state_dict().values()):
        assert torch.equal(mine, theirs)
    assert task.value(plain) == task.value(under)


@pytest.mark.parametrize("outputs", [None, {"logits": torch.zeros(1, 2, 3, 3)}, torch.zeros(1, 2)])
def test_what_are_no_maps_has_no_mean_iou(outputs: Any) -> None:
    with pytest.raises(ConfigError, match=r"Mean IoU is of logits .*, not of"):
        MeanIoU().entries(outputs, torch.zeros(1, 3, 3))


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ({"mask": torch.zeros(2, 3, 3)}, "Mean IoU is of"),
        (list(torch.zeros(2, 3, 3)), "Mean IoU is of"),
        (torch.zeros(1, 3, 3), "Mean IoU is of"),  # the second picture was left out
        (torch.zeros(2, 2, 3, 3), "Mean IoU is of"),
        (torch.full((2, 3, 3), -1), "A mask has class -1"),
        (torch.full((2, 3, 3), 0.7), "numbers between the classes"),  # it was class 0
    ],
)
def test_what_are_no_masks_has_no_mean_iou(targets: Any, told: str) -> None:
    with pytest.raises((ConfigError, DataError), match=told):
        MeanIoU().entries(torch.zeros(2, 2, 3, 3), targets)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int16, torch.float32, torch.float16])
def test_masks_may_have_any_type(kind: torch.dtype) -> None:
    masks = torch.tensor([[[0, 1], [1, 7]]])
    logits = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]]])
    metric = MeanIoU(ignore=7)
    assert torch.equal(metric.entries(logits, masks.to(kind))[0], metric.entries(logits, masks)[0])
    if kind.is_signed:
        masks[masks == 7] = -1
        assert MeanIoU(ignore=-1).entries(logits, masks.to(kind))[0].tolist() == [[1, 0, 0], [1, 1, 0]]
