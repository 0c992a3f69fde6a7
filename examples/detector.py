"""A detector of torchvision's kind on pictures of one's own: digits on a dark ground, to be boxed.

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
from prunus.runs import Delivery, Provenance, deliver
from prunus.tasks import MeanAveragePrecision
from prunus.training import TrainConfig

SIDE, BATCH = 48, 8  # pixels, pictures


def pictures(count: int, seed: int) -> list[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """Batches of pictures with two digits of 16 pixels, "small" (0 to 4) or "large", and their boxes."""
    draw, digits, found = torch.Generator().manual_seed(seed), prunus.data.load("digits").train, []
    for _ in range(count):
        picture, boxes, labels = torch.zeros(3, SIDE, SIDE), [], []
        for half in (0, SIDE // 2):
            chosen, left, top = (int(torch.randint(n, (), generator=draw)) for n in (len(digits), 32, 8))
            digit = digits.images[chosen].repeat_interleave(2, 1).repeat_interleave(2, 2) / 255
            picture[:, half + top : half + top + 16, left : left + 16] = digit
            boxes.append([left, half + top, left + 16, half + top + 16])
            labels.append(1 + int(digits.labels[chosen] > 4))
        found.append((picture, {"boxes": torch.tensor(boxes).float(), "labels": torch.tensor(labels)}))
    batches = [found[i : i + BATCH] for i in range(0, count, BATCH)]
    return [([image for image, _ in batch], [target for _, target in batch]) for batch in batches]


def task(limit: int = 160) -> prunus.Task:
    """The detector's own losses, and mAP; half as many pictures to choose by and to report on."""
    parts, names = (pictures(limit // min(n, 2), n) for n in (1, 2, 3)), ("background", "small", "large")
    return prunus.Task(*parts, loss="model", metric=MeanAveragePrecision(0.5), classes=names)


class Backbone(nn.Module):
    """Feature maps of 12 and 6 pixels."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 16), (16, 32), (32, 32))
        steps = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in sizes]
        self.fine, self.coarse, self.out_channels = nn.Sequential(*steps[:2]), steps[2], [32, 32]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:  # noqa: D102
        fine = self.fine(x)
        return OrderedDict(fine=fine, coarse=self.coarse(fine))


def network() -> nn.Module:
    """An SSD of two scales."""
    anchors = DefaultBoxGenerator([[1], [1]], scales=[0.33, 0.4, 0.5])
    return SSD(Backbone(), anchors, (SIDE, SIDE), 3, image_mean=[0.0] * 3, image_std=[1.0] * 3)


def main(limit: int = 160, delivery: Delivery | None = None) -> None:
    """Train, prune to half the MACs, make up for it, tune, and write model, report and ONNX file."""
    boxes, detector = task(limit), network()
    boxes.fit(detector, TrainConfig(epochs=12, lr=0.003, optimizer="adam"))
    prunus.save(detector, "dense.safetensors")
    core, example = boxes.core(detector), next(iter(boxes.calibration(1)))
    outcome = prunus.shrink(core, boxes, macs=0.5, config=TrainConfig(epochs=4, lr=0.002, optimizer="adam"))
    about, delivery = Provenance({"name": "detector"}, "reconstruction", task=boxes), delivery or Delivery()
    deliver("out-python", core, outcome, example[:1], about, delivery)


if __name__ == "__main__":
    main()
