"""What a network finds on whole pictures, against their masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from prunus._foundation.arguments import checked
from prunus._foundation.confidence import Rows
from prunus.data.pictures import Example, void_label
from prunus.errors import DataError
from prunus.segmentation.metrics import Confusion, classes_of, together
from prunus.segmentation.predict import OVERLAP, TILE, reader, strips
from prunus.training.feeding import Normalise


@checked()
def evaluate(
    model: nn.Module,
    examples: Iterable[Example],
    normalise: Normalise,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    batch_size: int = 4,
) -> Confusion:
    """Count every pixel of the pictures; metrics are over all of them together, as is usual for buildings.

    Args:
        model: (batch, planes, tile, tile) to logits (batch, classes, tile, tile), by themselves or under
            "out" in a dictionary; a single map is the foreground of a binary mask.
        examples: pictures with masks.
        normalise: (mean, std) of every plane, in units of 0..1.
        tile, overlap, batch_size: as for `predict`.

    Raises:
        DataError: no pictures, one without a mask, or a mask with classes that the model does not have.
        ConfigError: a network that gives something else.
    """
    return together(
        picture_by_picture(model, examples, normalise, tile=tile, overlap=overlap, batch_size=batch_size)
    )


@checked()
def picture_by_picture(
    model: nn.Module,
    examples: Iterable[Example],
    normalise: Normalise,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    batch_size: int = 4,
) -> list[Confusion]:
    """Count the pixels of every picture; arguments and errors are those of `evaluate`."""
    found = []
    for example in examples:
        if example.mask is None:
            raise DataError(f"{example.name} has no mask to compare with.")
        _, height, width = example.picture.shape
        read, top, confusion = reader(example.picture, normalise, example.name), 0, None
        for logits in strips(model, read, height, width, tile=tile, overlap=overlap, batch_size=batch_size):
            classes = classes_of(logits[None])[0]
            confusion = confusion or Confusion(max(len(logits), 2), void_label(example.mask))
            confusion.add(classes, example.mask.read(top, 0, len(classes), width)[0])
            top += len(classes)
        if confusion is not None:
            found.append(confusion)
    if not found:
        raise DataError("There are no pictures to evaluate on.")
    return found


def figures_of(confusions: Sequence[Confusion]) -> dict[str, Rows]:
    """The figures of pictures as metrics with a row for each, so that it can be said with a confidence how
    much of them is lost.
    """
    each, ignore = [confusion.counts for confusion in confusions], confusions[0].ignore

    def points(name: str) -> Callable[[Sequence[Any]], float]:
        return lambda counts: Confusion.of(torch.stack(list(counts)).sum(0), ignore).figures()[name]

    return {name: Rows(each, points(name)) for name in confusions[0].figures()}
