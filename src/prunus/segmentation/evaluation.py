"""What a network finds on whole pictures, against their masks."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from prunus._arguments import checked

from ..data.pictures import Example
from ..errors import DataError
from ..training.feeding import Normalise
from .metrics import Confusion, classes_of
from .predict import OVERLAP, TILE, reader, strips


@checked()
def evaluate(
    model: nn.Module, examples: Iterable[Example], normalise: Normalise, *, tile: int = TILE, overlap: int = OVERLAP, batch_size: int = 4
) -> Confusion:
    """Count every pixel of the pictures; metrics are over all of them together, as is usual for buildings.

    Args:
        model: (batch, planes, tile, tile) to logits (batch, classes, tile, tile); a single map is the foreground of a binary mask.
        examples: pictures with masks.
        normalise: (mean, std) of every plane, in units of 0..1.
        tile, overlap, batch_size: as for `predict`.

    Raises:
        DataError: no pictures, one without a mask, or a mask with classes that the model does not have.
    """
    confusion: Confusion | None = None
    for example in examples:
        if example.mask is None:
            raise DataError(f"{example.name} has no mask to compare with.")
        _, height, width = example.picture.shape
        read, top = reader(example.picture, normalise, example.name), 0
        for logits in strips(model, read, height, width, tile=tile, overlap=overlap, batch_size=batch_size):
            found = classes_of(logits[None])[0]
            if confusion is None:
                confusion = Confusion(max(len(logits), 2))
            confusion.add(found, example.mask.read(top, 0, len(found), width)[0])
            top += len(found)
    if confusion is None:
        raise DataError("There are no pictures to evaluate on.")
    return confusion
