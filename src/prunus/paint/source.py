"""A parameter or buffer of the traced model, and the colours of its slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prunus.paint.records import ANCHOR, Labels

UNPAINTED = -1


class Source(NamedTuple):
    """One parameter or buffer: `tensor` is its meta twin, `starts[axis]` the first colour of an axis (the
    others follow), or `UNPAINTED`.

    `neutral` is what removed slots along each axis hold in the masked network.
    """

    name: str
    tensor: Tensor
    is_parameter: bool
    starts: tuple[int, ...]
    neutral: tuple[float, ...] = ()

    @property
    def is_real(self) -> bool:
        """Whether it holds numbers that can be set to another, not indices or flags."""
        return self.tensor.dtype.is_floating_point or self.tensor.dtype.is_complex

    def part(self, of: NDArray[Any], axis: int) -> NDArray[Any]:
        """The entries of one axis in an array over all colours, shape (size,)."""
        start, size = self.starts[axis], self.tensor.shape[axis]
        return of[start : start + size] if start != UNPAINTED else of[:1].repeat(size)

    def colours(self, axis: int) -> Labels:
        """The colours along one axis, shape (size,)."""
        start, size = self.starts[axis], self.tensor.shape[axis]
        return np.arange(start, start + size, dtype=np.int64) if start != UNPAINTED else np.full(size, ANCHOR)


def colours_of(sources: Sequence[Source]) -> int:
    """The first colour that belongs to none of these; theirs are the first ones, without gaps."""
    ends = [
        start + size
        for source in sources
        for start, size in zip(source.starts, source.tensor.shape)
        if start != UNPAINTED
    ]
    return max(ends, default=ANCHOR + 1)
