"""A U-Net that `benchmarks.segmentation` has trained, for `benchmarks.one_shot`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.segmentation import Pictures
from prunus import models, storage
from prunus.data.pictures import Example
from prunus.segmentation.losses import cross_entropy
from prunus.tasks import MeanIoU, Samples, Task
from prunus.training import Normalise

UNET = "unet"
FOLD = {"seed": 0, "block": 1, "folds": 5, "fold": 0, "shrink": 2}  # of the pictures
WIDTH = 16  # channels of the first level


@dataclass(frozen=True, eq=False)
class PictureSubject:
    """A trained network and its pictures; see `benchmarks.methods_subjects.Subject`."""

    model: nn.Module
    example: Tensor
    task: Task


def unet(options: argparse.Namespace) -> PictureSubject:
    """The U-Net in a folder of `benchmarks.segmentation`, --weights, and the pictures of its fold."""
    found = Pictures.read(options.data, FOLD)
    planes = len(found.normalise[0])
    model = storage.load(options.weights, lambda: models.unet(width=WIDTH, in_channels=planes))
    parts = [_whole(part, found.normalise) for part in (found.train, found.validation, found.test)]
    task = Task(parts[0], parts[1], parts[2], metric=MeanIoU(), loss=cross_entropy)
    return PictureSubject(model.eval(), torch.zeros(1, *parts[0].inputs.shape[1:]), task)


def _whole(examples: list[Example], normalise: Normalise) -> Samples:
    """Whole pictures of one size, and their masks."""
    masks = [example.mask for example in examples]
    assert all(mask is not None for mask in masks)
    return Samples(
        torch.stack([one.picture.read(0, 0, *one.picture.shape[1:]) for one in examples]),
        torch.stack([mask.read(0, 0, *mask.shape[1:])[0] for mask in masks if mask is not None]).long(),
        normalise,
        batch_size=4,
    )
