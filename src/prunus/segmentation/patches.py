"""Random windows of pictures and their masks, as batches for `prunus.training.train`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from prunus._foundation.arguments import checked
from prunus.data.pictures import IGNORED, Example
from prunus.errors import ConfigError, DataError
from prunus.segmentation.predict import reflected
from prunus.training.feeding import Normalise


class Patches:
    """Batches of windows, drawn anew in every pass with torch's own generator, turned and mirrored by chance.

    Args:
        examples: pictures with masks; larger ones are drawn from more often.
        normalise: (mean, std) of every plane, in units of 0..1.
        size: side of a window [pixels]; smaller pictures are reflected beyond their borders, where the mask
            is unknown.
        count: windows per pass.
        batch_size: windows per batch.
        turned: turn by quarters and mirror.

    Raises:
        DataError: no pictures, or one without a mask.
        ConfigError: sizes below 1.
    """

    @checked(ConfigError)
    def __init__(
        self,
        examples: Sequence[Example],
        normalise: Normalise,
        size: int = 256,
        count: int = 512,
        batch_size: int = 8,
        turned: bool = True,
    ) -> None:
        if not examples or any(example.mask is None for example in examples):
            raise DataError("Training needs pictures, each with its mask.")
        if min(size, count, batch_size) < 1:
            raise ConfigError(
                f"Windows of {size} pixels, {count} of them, {batch_size} at a time: all must be at least 1."
            )
        self._examples, self._size, self._count, self._batch, self._turned = (
            list(examples),
            size,
            count,
            batch_size,
            turned,
        )
        mean, std = (torch.tensor(list(values), dtype=torch.float64).view(-1, 1, 1) for values in normalise)
        self._scale, self._shift = (1 / (255 * std)).float(), (-mean / std).float()

    @property
    def pictures(self) -> int:
        """How many there are to draw from."""
        return len(self._examples)

    def subset(self, indices: Tensor) -> Patches:
        """As many windows, of these of the pictures alone."""
        fewer = copy.copy(self)
        fewer._examples = [self._examples[index] for index in indices.tolist()]
        return fewer

    def __len__(self) -> int:
        return -(-self._count // self._batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (batch, planes, size, size) float32, normalised, and masks (batch, size, size) int64."""
        areas = [example.picture.shape[1] * example.picture.shape[2] for example in self._examples]
        chances = torch.tensor(areas, dtype=torch.float64)
        chosen = torch.multinomial(chances, self._count, replacement=True).tolist()
        for part in range(0, self._count, self._batch):
            windows = [self._window(self._examples[index]) for index in chosen[part : part + self._batch]]
            images = torch.stack([image for image, _ in windows]).float() * self._scale + self._shift
            yield images, torch.stack([mask for _, mask in windows]).long()

    def _window(self, example: Example) -> tuple[Tensor, Tensor]:
        """One window of a picture, and of its mask."""
        assert example.mask is not None
        _, height, width = example.picture.shape
        rows, columns = min(self._size, height), min(self._size, width)
        top, left = (
            int(torch.randint(length - part + 1, ())) for length, part in ((height, rows), (width, columns))
        )
        image = reflected(example.picture.read(top, left, rows, columns).float(), self._size, self._size)
        mask = torch.full((self._size, self._size), IGNORED, dtype=torch.uint8)
        mask[:rows, :columns] = example.mask.read(top, left, rows, columns)[0]
        if self._turned:
            turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
            image, mask = torch.rot90(image, turns, (1, 2)), torch.rot90(mask, turns, (0, 1))
            if mirrored:
                image, mask = image.flip(2), mask.flip(1)
        return image, mask
