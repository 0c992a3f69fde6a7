"""A detector of torchvision's kind on pictures of one's own: handwritten digits on a dark ground, each to be
found and boxed.

From the command line, once this file has been run (it writes the trained network):

    prunus prune detector:network --weights dense.safetensors --data detector:task --macs 0.5 --epochs 4 \
        --optimizer adam --lr 0.002 -o out/
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

import prunus
from prunus import data
from prunus.runs import Delivery, Provenance, deliver
from prunus.tasks import MeanAveragePrecision
from prunus.training import TrainConfig

SIDE, BATCH = 48, 8  # pixels, pictures


def pictures(count: int, seed: int) -> list[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Batches of pictures with two digits of 16 pixels, "small" (0 to 4) or "large" (5 to 9), and their
    boxes.
    """
    draw, digits, found = torch.Generator().manual_seed(seed), data.load("digits").train, []
    for _ in range(count):
        picture, boxes, labels = torch.zeros(3, SIDE, SIDE), [], []
        for half in (0, SIDE // 2):
            chosen, left = (
                int(torch.randint(len(digits), (), generator=draw)),
                int(torch.randint(SIDE - 16, (), generator=draw)),
            )
            top = half + int(torch.randint(SIDE // 2 - 16, (), generator=draw))
            picture[:, top : top + 16, left : left + 16] = nn.functional.interpolate(
                digits.images[chosen][None] / 255, scale_factor=2.0
            )[0]
            boxes.append([left, top, left + 16, top + 16])
            labels.append(1 + int(digits.labels[chosen] > 4))
        found.append(
            (picture, {"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels)})
        )
    return [
        ([image for image, _ in found[i : i + BATCH]], [target for _, target in found[i : i + BATCH]])
        for i in range(0, count, BATCH)
    ]


def task(limit: int = 160) -> prunus.Task:
    """The detector's own losses, and mAP at half overlap; so many pictures to train on, and half as many to
    choose by and to report on.
    """
    return prunus.Task(
        pictures(limit, 0),
        pictures(limit // 2, 1),
        pictures(limit // 2, 2),
        loss="model",
        metric=MeanAveragePrecision(0.5),
        classes=("background", "small", "large"),
    )


class Backbone(nn.Module):
    """Feature maps of 12 and 6 pixels."""

    def __init__(self) -> None:
        super().__init__()
        steps = [
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in ((3, 16), (16, 32), (32, 32))
        ]
        self.fine, self.coarse, self.out_channels = nn.Sequential(*steps[:2]), steps[2], [32, 32]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:  # noqa: D102
        fine = self.fine(x)
        return OrderedDict(fine=fine, coarse=self.coarse(fine))


def network() -> nn.Module:
    """An SSD of two scales."""
    return SSD(
        Backbone(),
        DefaultBoxGenerator([[1], [1]], scales=[0.33, 0.4, 0.5]),
        (SIDE, SIDE),
        3,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
    )


def main(limit: int = 160, delivery: Delivery | None = None) -> None:
    """Train, prune to half the MACs, make up for it, tune, and write model, report and the ONNX file of its
    core.
    """
    boxes, detector = task(limit), network()
    boxes.fit(detector, TrainConfig(epochs=12, lr=0.003, optimizer="adam"))
    prunus.save(detector, "dense.safetensors")
    core, example = boxes.core(detector), next(iter(boxes.calibration(1)))
    outcome = prunus.shrink(core, boxes, macs=0.5, config=TrainConfig(epochs=4, lr=0.002, optimizer="adam"))
    about = Provenance({"name": "detector"}, "reconstruction", task=boxes)
    deliver("out-python", core, outcome, example[:1], about, delivery or Delivery())


if __name__ == "__main__":
    main()
