"""Integers as bytes, one stream for all tensors of a network."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prunus.errors import FileFormatError


def encode(tensors: Sequence[NDArray[np.int32]]) -> bytes:
    """All integers of some tensors, one after another."""
    return zlib.compress(b"".join(np.ascontiguousarray(t, "<i4").tobytes() for t in tensors), 9)


def decode(data: bytes, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.int32]]:
    """The tensors of these shapes. Raises FileFormatError where the data are none of such tensors."""
    sizes = [math.prod(shape) for shape in shapes]
    try:
        found = zlib.decompressobj().decompress(data, 4 * sum(sizes) + 1)
    except zlib.error as error:
        raise FileFormatError("The stream of integers cannot be read.") from error
    if len(found) != 4 * sum(sizes):
        raise FileFormatError("The stream of integers has another length than its tensors.")
    flat = np.frombuffer(found, "<i4").astype(np.int32)
    parts = np.split(flat, np.cumsum(sizes)[:-1]) if sizes else []
    return [part.reshape(shape) for part, shape in zip(parts, shapes)]


__all__ = ["decode", "encode"]
