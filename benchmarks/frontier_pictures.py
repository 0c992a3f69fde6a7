"""Segmentation as a subject of `benchmarks.frontier`: a U-Net on pictures with masks.

A fifth of the pictures is the test set, and another fifth is what rates are chosen by; then it is trained on,
too. Accuracies are the mean IoU of the classes over whole pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.frontier_training import Subject
from benchmarks.segmentation import folded, settings, shrunk
from prunus import models
from prunus.data.picture_sets import load_pictures, statistics
from prunus.segmentation import Patches
from prunus.segmentation.losses import cross_entropy
from prunus.tasks.pictures import Pictures, PictureTask
from prunus.tasks.segmentation import MeanIoU
from prunus.training import TrainConfig

NETWORK, WIDTH = "unet", 16
SHRUNK = 2  # pixels of a picture are means of squares with this side
SIDE, WINDOWS = 128, 128  # of a window [pixels], and windows in an epoch
FOLDS = 5
AUGMENT = "turned"


class PictureSubject(Subject):
    """A U-Net that tells foreground from background."""

    @property
    def samples(self) -> int:
        """Windows in an epoch."""
        return WINDOWS

    def dense(self, seed: int) -> nn.Module:
        """With random weights."""
        torch.manual_seed(seed)
        return models.build(NETWORK, width=WIDTH, in_channels=self.image_shape[0])

    def config(self, epochs: int, lr: float, seed: int, **changed: Any) -> TrainConfig:
        """As `benchmarks.segmentation` trains."""
        return settings(epochs, lr, seed, **changed)


def picture_subject(folder: Path, epochs: int, validation: bool) -> PictureSubject:
    """Pictures of a folder, and what is measured: those that rates are chosen by, or those of the test."""
    found = load_pictures(folder, 0, 1)
    every = sorted([*found.train, *found.test], key=lambda example: example.name)
    kept, held, tested = folded(every, FOLDS, 0, 1)
    if not validation:
        kept, held = [*kept, *held], tested
    normalise = statistics(kept)
    train, measuring = ([shrunk(example, SHRUNK) for example in part] for part in (kept, held))
    task = PictureTask(
        Patches(train, normalise, SIDE, WINDOWS, batch_size=8),
        test=Pictures(measuring, normalise, SIDE),
        loss=cross_entropy,
        metric=MeanIoU(),
        side=SIDE,
        name=found.name,
    )
    return PictureSubject(task, NETWORK, AUGMENT, (len(normalise[0]), SIDE, SIDE), epochs)
