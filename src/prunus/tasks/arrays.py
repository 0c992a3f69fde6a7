"""A task from the arrays of a `.npz` file: what it is of is told by its targets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from prunus._foundation.arguments import checked
from prunus.data.npz import Arrays, Part, read_npz, tensor_of
from prunus.data.paths import AnyPath, as_path, shown
from prunus.data.pictures import IGNORED
from prunus.data.sets import Split, statistics, stratified, tell_missing
from prunus.errors import DataError
from prunus.segmentation.losses import cross_entropy
from prunus.tasks.regression import regression
from prunus.tasks.samples import Samples, scale_of
from prunus.tasks.segmentation import MeanIoU
from prunus.tasks.task import Task
from prunus.training.feeding import Normalise

TEST_SHARE = 0.2  # held out of a file that has no samples to test on
EVERY: tuple[Part, ...] = ("train", "validation", "test")
PLANES = (1, 3, 4)  # of pictures; they may be the last axis
MOST_CLASSES = 100_000


@checked()
def npz_task(
    path: AnyPath,
    *,
    validation: float = 0.1,
    seed: int = 0,
    ignore: int = IGNORED,
    normalise: Normalise | None = None,
) -> Task:
    """The samples of a `.npz` file, with the loss and the metric that go with their targets.

    * Whole numbers, one a sample, are classes: cross-entropy and top-1 accuracy.
    * Whole numbers in the shape of the inputs without their planes are maps of classes: cross-entropy and
      mean IoU by pixel.
    * Numbers with a point are to be predicted: squared error in units of the targets' variance (of a whole
      plane, where they are maps), and R² [percent].

    Inputs are taken as they are, (samples, planes, …), as float32. Bytes in three or four axes are pictures,
    grey or with their planes first or last, and are normalised.

    Args:
        path: see `prunus.data.npz.read_npz` for the arrays in it.
        validation: share of the training samples that is held out to choose by where the file has none of its
            own; 0 leaves that out.
        seed: which.
        ignore: the label of maps that counts for nothing.
        normalise: (mean, std) of the planes of pictures, in units of 0..1; None = those of the training
            samples.

    Raises:
        DataError: what `read_npz` raises, targets of no such kind, negative classes, or too few samples to
            hold some out.
    """
    found, name = read_npz(path), shown(as_path(path))
    inputs = {part: _inputs(arrays) for part, arrays in found.items()}
    kind, targets = _targets(found, inputs["train"], ignore, name)
    classes = () if kind == "numbers" else _classes(targets, IGNORED if kind == "maps" else None, name)
    if kind == "classes":
        tell_missing(targets["train"], len(classes), name)
    split: dict[Part, tuple[Tensor, Tensor]] = {part: (inputs[part], targets[part]) for part in found}
    _hold_out(split, "test", TEST_SHARE, 0, kind, name)
    every = split["train"]  # scales are those of all of them, so that they are the same whatever is held out
    if validation:
        _hold_out(split, "validation", validation, seed, kind, name)
    title = as_path(path).name
    train = split["train"]
    if kind == "classes" and train[0].dtype == torch.uint8:
        splits = [Split(*split[part]) if part in split else None for part in EVERY]
        assert splits[0] is not None
        return Task(
            splits[0],
            splits[1],
            splits[2],
            normalise=normalise or statistics(every[0]),
            classes=classes,
            name=title,
        )
    scale = normalise or scale_of(every[0]) if train[0].dtype == torch.uint8 else None
    parts = [Samples(*split[part], scale) if part in split else None for part in EVERY]
    assert parts[0] is not None
    if kind == "classes":
        return Task(parts[0], parts[1], parts[2], classes=classes, name=title)
    if kind == "maps":
        return Task(
            parts[0],
            parts[1],
            parts[2],
            loss=cross_entropy,
            metric=MeanIoU(ignore=ignore),
            classes=classes,
            name=title,
        )
    judge = regression(every[1], places=every[1].dim() > 1 and every[1].shape[1:] == every[0].shape[2:])
    return Task(parts[0], parts[1], parts[2], loss=judge.loss, metric=judge, name=title)


def _inputs(arrays: Arrays) -> Tensor:
    """Inputs as the model takes them; pictures of bytes with their planes first."""
    array = arrays.inputs
    if array.dtype == np.uint8 and array.ndim == 3:
        array = array[:, None]
    elif (
        array.dtype == np.uint8
        and array.ndim == 4
        and array.shape[3] in PLANES
        and array.shape[1] not in PLANES
    ):
        array = array.transpose(0, 3, 1, 2)
    elif array.dtype == np.uint8 and array.ndim != 4:
        array = array.astype(np.float32)
    return tensor_of(array)


def _targets(
    found: dict[Part, Arrays], inputs: Tensor, ignore: int, name: str
) -> tuple[str, dict[Part, Tensor]]:
    """What kind of targets they are, and the targets of every part."""
    arrays = {part: one.targets for part, one in found.items()}
    first = arrays["train"]
    if first.dtype.kind == "f":
        return "numbers", {part: torch.from_numpy(np.ascontiguousarray(one)) for part, one in arrays.items()}
    maps = (
        first.ndim > 1
        and first.shape[1:] != (1,)
        and first.shape[1:] in (tuple(inputs.shape[2:]), (1, *inputs.shape[2:]))
    )
    if not maps and first[0].size != 1:
        raise DataError(
            f"The targets in {name} are whole numbers of the shape {first.shape}, for inputs of"
            f" {tuple(inputs.shape)}: classes are one number a sample, maps have the inputs' shape without"
            " planes, and numbers to be predicted are saved as float32."
        )
    whole = {part: torch.from_numpy(one.astype(np.int64)) for part, one in arrays.items()}
    if not maps:
        return "classes", {part: one.flatten() for part, one in whole.items()}
    shape = inputs.shape[2:]
    return "maps", {part: one.reshape(-1, *shape) for part, one in _known(whole, ignore).items()}


def _known(maps: dict[Part, Tensor], ignore: int) -> dict[Part, Tensor]:
    """Maps in which `IGNORED` stands for what nobody knows; where all parts hold 0 and 255 alone they are
    binary, as pictures store them.
    """
    values = {int(value) for one in maps.values() for value in torch.unique(one)}
    if ignore == IGNORED and values == {0, IGNORED}:
        return {part: (one == 255).long() for part, one in maps.items()}
    return {part: torch.where(one == ignore, IGNORED, one) for part, one in maps.items()}


def _classes(targets: dict[Part, Tensor], void: int | None, name: str) -> tuple[str, ...]:
    """Names of the classes, which are their numbers. Raises DataError where the targets are none."""
    if void is not None:
        targets = {part: torch.where(one == void, 0, one) for part, one in targets.items()}
    low, high = (
        min(int(one.min()) for one in targets.values()),
        max(int(one.max()) for one in targets.values()),
    )
    if low < 0 or high >= MOST_CLASSES:
        raise DataError(
            f"The targets in {name} go from {low} to {high}: classes are numbered from 0 to below"
            f" {MOST_CLASSES:,}; numbers to be predicted are saved as float32."
        )
    if high == 0:
        raise DataError(f"The targets in {name} hold class 0 alone: there is nothing to tell apart.")
    return tuple(map(str, range(high + 1)))


def _hold_out(
    split: dict[Part, tuple[Tensor, Tensor]], part: Part, share: float, seed: int, kind: str, name: str
) -> None:
    """Take a part from the training samples where there is none: the same share of every class, or of all."""
    if part in split:
        return
    inputs, targets = split["train"]
    if len(inputs) < 2:
        raise DataError(
            f"{name} has {len(inputs)} training sample, and none can be held out for the {part}: save more,"
            f" or the arrays {part}_…."
        )
    kept, held = stratified(
        targets if kind == "classes" else torch.zeros(len(inputs), dtype=torch.int64), share, seed
    )
    if not len(held):
        raise DataError(
            f"{name} has one training sample of every class, and none can be held out for the {part}: save"
            f" more, or {part}_inputs."
        )
    split[part] = inputs[held], targets[held]
    split["train"] = inputs[kept], targets[kept]
