"""The networks that `benchmarks.methods` prunes, with their data: CIFAR-10 ResNets, and MobileNetV2 on a
sample of ImageNet.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from prunus import data, models
from prunus.data import Split
from prunus.models import load_weights
from prunus.tasks import Task
from prunus.training import Normalise

IMAGENET: Normalise = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # what the public weights were trained with
MOBILENET = "torchvision/mobilenet_v2"
CALIBRATION = 400  # images of the ImageNet sample that are not measured on
HELD = 2000  # samples that tell whether recalibration helps, at most


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network.

    Attributes:
        model: in evaluation mode.
        example: what it takes.
        calibration: samples to score, refit and fine-tune with.
        held: samples that tell whether recalibration helps.
        measured: samples to measure on.
        inner: glob patterns of the layers whose filters go: those inside the blocks, which no residual stream
            holds together.
    """

    model: nn.Module
    example: Tensor
    calibration: Split
    held: Split
    measured: Split
    inner: tuple[str, ...]

    @property
    def task(self) -> Task:
        """Trained on what it is calibrated with, and tested on what is measured."""
        return Task(self.calibration, self.held, self.measured, normalise=IMAGENET)


def subject(options: argparse.Namespace) -> Subject:
    """The network that the command names, and its data."""
    from tests.torchvision_shim import missing

    mobile = options.network == MOBILENET
    if mobile:
        calibration, measured = imagenet_sample(options.data)
        # the expansion of every inverted residual
        inner: tuple[str, ...] = tuple(f"features.{block}.conv.0.0" for block in range(2, 18))
    else:
        images = data.load("cifar10", options.data)
        calibration, measured = images.hold_out(0.1) if options.validation else (images.train, images.test)
        inner = ("*.conv1",)
    if mobile and (reason := missing("torchvision")):
        raise SystemExit(reason)
    model = models.build(options.network, num_classes=1000 if mobile else 10)
    load_weights(model, options.weights)
    order = torch.randperm(len(calibration), generator=torch.Generator().manual_seed(1))
    share = min(HELD, len(calibration) // 4)
    held, calibration = calibration.subset(order[:share]), calibration.subset(order[share:])
    return Subject(
        model.eval(), torch.zeros(1, *measured.images.shape[1:]), calibration, held, measured, inner
    )


def imagenet_sample(folder: Path) -> tuple[Split, Split]:
    """One image of every class, in the order of their names: 400 drawn ones to calibrate with, the others to
    measure on.
    """
    from PIL import Image

    files = sorted(folder.glob("*.jpg")) + sorted(folder.glob("*.JPEG"))
    if len(files) != 1000:
        raise SystemExit(f"{folder} has {len(files)} images; one of each of the 1,000 classes is needed.")
    images = (
        torch.stack([torch.from_numpy(_centre(Image.open(file).convert("RGB")).copy()) for file in files])
        .permute(0, 3, 1, 2)
        .contiguous()
    )
    both = Split(images, torch.arange(1000))
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    return both.subset(order[:CALIBRATION]), both.subset(order[CALIBRATION:])


def _centre(
    image: object, short: int = 256, side: int = 224
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Brought to a short side of 256 pixels, and the 224 pixels in the middle of it."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    scale = short / min(image.size)
    width, height = (round(scale * length) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + side, top + side)))
