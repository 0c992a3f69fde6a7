"""Segmentation masks, so that pictures with masks can be aggregated and scored like samples with labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus._foundation.arguments import checked
from prunus._foundation.wording import given
from prunus.errors import ConfigError
from prunus.selection.subsets import Indices, chunks


class Masks:
    """The classes of all pixels, read as shares: of one sample 0 or 1, of an aggregated point the mean over
    its samples.

    Args:
        classes_of_pixels: (N, H, W) class indices, 0 for the background: an array or a memory map.
        classes: how many there are, the background included.

    Raises:
        ConfigError: another shape, or fewer than two classes.
    """

    @checked(ConfigError)
    def __init__(self, classes_of_pixels: Any, classes: int) -> None:
        if len(getattr(classes_of_pixels, "shape", ())) != 3 or classes < 2:
            raise ConfigError(
                f"Masks are (N, H, W) indices of two or more classes, not {given(classes_of_pixels)} of"
                f" {classes}."
            )
        self._pixels, self._classes = classes_of_pixels, classes

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, classes, H, W)."""
        count, height, width = self._pixels.shape
        return count, self._classes, height, width

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, samples: slice | Indices) -> NDArray[np.uint8]:
        """Shares of the classes, shape (n, classes, H, W)."""
        part = np.asarray(self._pixels[samples])
        shares: NDArray[np.uint8] = (part[:, None] == np.arange(self._classes)[None, :, None, None]).astype(
            np.uint8
        )
        return shares

    def labels(self) -> Indices:
        """One class per sample, shape (N,): the most frequent one but the background; that where there is
        nothing else (our choice).
        """
        found = []
        for _, rows in chunks(self):
            counts = rows.reshape(len(rows), self._classes, -1).sum(2)[:, 1:]
            found.append(np.where(counts.any(1), counts.argmax(1) + 1, 0))
        return np.concatenate(found)
