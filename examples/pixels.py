"""Pictures of one's own with masks, discs and squares with a border of void, for a U-Net of one's own.

From the command line, once this file has been run (it writes the data and the trained network):

    prunus prune pixels:Net --weights dense.safetensors --data shapes/ --ignore 11 --tolerance 5 \
        --confidence 0.9 --trial-epochs 1 --epochs 2 \
        --optimizer adam --lr 0.005 --windows 64 --batch-size 8 -o out/
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import prunus
from prunus.data.picture_sets import load_pictures
from prunus.runs import Delivery, Provenance, deliver
from prunus.tasks.pictures import pictures_task
from prunus.training import TrainConfig

SIDE, VOID, CLASSES = 32, 11, 3


def write_data(folder: Path, counts: tuple[int, int, int], seed: int = 0) -> None:
    """`train/`, `val/` and `test/` with `images/` and `masks/`: 1 is a disc, 2 a square, void around each."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    parts = zip(("train", "val", "test"), counts)
    for part, number in ((part, n) for part, count in parts for n in range(count)):
        picture, mask = draw.normal(80, 25, (SIDE, SIDE, 3)), np.zeros((SIDE, SIDE), np.uint8)
        for label in (1, 2):
            y, x = draw.integers(6, SIDE - 6, 2)
            apart = abs(rows - y), abs(columns - x)
            distance = np.hypot(*apart) if label == 1 else np.maximum(*apart)
            picture[distance < 5, label] += 90
            mask[distance < 6], mask[distance < 5] = VOID, label
        for kind, pixels in (("images", picture.clip(0, 255).astype(np.uint8)), ("masks", mask)):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / part / kind / f"{number}.png")


class Net(nn.Module):
    """A U-Net of two steps: (batch, 3, H, W) to logits (batch, 3, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 16), (16, 32), (48, 16))
        self.down, self.deep, self.up = (
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in sizes
        )
        self.last = nn.Conv2d(16, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        fine = self.down(x)
        coarse = self.deep(nn.functional.max_pool2d(fine, 2))
        wide = nn.functional.interpolate(coarse, scale_factor=2.0)
        return self.last(self.up(torch.cat([fine, wide], 1)))  # type: ignore[no-any-return]


def main(counts: tuple[int, int, int] = (60, 80, 20), delivery: Delivery | None = None) -> None:
    """Train, make as small as five points of IoU allow, and write model, ONNX file and report."""
    write_data(Path("shapes"), counts)
    pictures = load_pictures("shapes", ignore=VOID)
    held = pictures.validation or []
    task = pictures_task(pictures, pictures.train, held, side=SIDE, windows=64, batch_size=8)
    model, quick = Net(), TrainConfig(epochs=1, lr=0.005, optimizer="adam")
    task.fit(model, TrainConfig(epochs=6, lr=0.01, optimizer="adam"))
    prunus.save(model, "dense.safetensors")
    outcome = prunus.shrink(model, task, tolerance=5.0, confidence=0.9, config=quick, trial_config=quick)
    about = Provenance({"name": "pixels"}, "reconstruction", task=task)
    deliver("out-python", model, outcome, task.example_inputs(), about, delivery or Delivery())


if __name__ == "__main__":
    main()
