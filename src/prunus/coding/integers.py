"""Integers of several tensors as one string of bytes, and back: the same bytes on every machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.coding import tables
from prunus.errors import FileFormatError

Shape = tuple[int, ...]
_START = 11796  # of every context's weight in the mixer, in 65536ths


def encode(tensors: Sequence[NDArray[np.int32]]) -> bytes:
    """All integers, tensor after tensor: what one teaches the coder serves the next.

    Args:
        tensors: integers below 2^24 in magnitude; the first axis of two or more is that of rows (a layer's
            outputs), the second that of columns (its inputs), the rest is a kernel.

    Raises:
        FileFormatError: an integer is too large.
    """
    largest = max(
        (int(np.abs(tensor.astype(np.int64)).max()) for tensor in tensors if tensor.size), default=0
    )
    if largest >= 1 << 24:
        raise FileFormatError(f"The coder takes integers below {1 << 24}, and here is one of {largest}.")
    room = 64 + sum(8 * tensor.size for tensor in tensors)
    coder = _Coder(np.zeros(room, dtype=np.uint8), encodes=True)
    for tensor in tensors:
        coder.run(tensor.astype(np.int64).ravel(), tensor.shape)
    return coder.finish()


def decode(data: bytes, shapes: Sequence[Shape]) -> list[NDArray[np.int32]]:
    """The integers of tensors of these shapes; whatever the bytes are, as many come out, and missing ones
    count as zeros. That they are the right ones is for a checksum to say.
    """
    coder = _Coder(np.array(list(data), dtype=np.uint8), encodes=False)
    found = []
    for shape in shapes:
        integers = np.zeros(math.prod(shape), dtype=np.int64)
        found.append(coder.run(integers, shape).astype(np.int32).reshape(shape))
    return found


def is_compiled() -> bool:
    """Whether the coder is compiled (the extra `coding`), or runs as plain Python, a hundred times slower."""
    return bool(_kernel().IS_COMPILED)


def layout(shape: Shape) -> tuple[int, int, int, int]:
    """Rows, columns, places of the kernel, and how many of these lie side by side."""
    if len(shape) < 2:
        return 1, math.prod(shape), 1, 1
    places = math.prod(shape[2:])
    return shape[0], shape[1], places, shape[-1] if len(shape) > 2 else 1


@cache
def _kernel() -> Any:
    from prunus.coding import kernel

    return kernel


class _Coder:
    """What is learned on the way through all tensors, and the interval of the arithmetic coder."""

    def __init__(self, data: NDArray[np.uint8], encodes: bool) -> None:
        kernel = _kernel()
        slots = kernel.VALUES * 2 * kernel.DECISIONS
        weights = np.zeros((kernel.DECISIONS, kernel.CONTEXTS + 2), dtype=np.int64)
        weights[:, : kernel.CONTEXTS] = _START
        window = int.from_bytes(bytes(data[:4]).ljust(4, b"\0"), "big")
        state = [0, 0xFFFFFFFF, 0, 0, 1] if encodes else [0, 0xFFFFFFFF, 4, window, 0]
        scratch = [np.zeros(kernel.CONTEXTS, dtype=np.int64) for _ in range(4)]
        chances, counts = np.full(slots, 1 << 25, dtype=np.int32), np.zeros(slots, dtype=np.uint8)
        arrays = [*scratch, chances, counts, weights.ravel(), np.array(state), data]
        constants = [tables.SQUASHED, tables.STRETCHED, tables.RATES, tables.TRUST]
        self._arrays: list[Any] = [self._own(array) for array in (*arrays, *constants)]
        self._state, self._data = self._arrays[7:9]

    def run(self, integers: NDArray[np.int64], shape: Shape) -> NDArray[np.int64]:
        """Encode integers, or decode into their place; returns them."""
        own, (rows, columns, places, width) = self._own(integers), layout(shape)
        sums = (self._own(np.zeros(count, dtype=np.int64)) for count in (columns, places))
        _kernel().code_integers(own, rows, columns, places, width, *sums, *self._arrays)
        return np.asarray(own, dtype=np.int64)

    def finish(self) -> bytes:
        """What was written, with the shortest end that still says where in the interval it lies; zeros at the
        end go without saying.
        """
        low, high, place = (int(number) for number in self._state[:3])
        written = bytes(np.asarray(self._data[:place], dtype=np.uint8))
        for count in range(5):
            unit = 1 << (32 - 8 * count)
            end = -(-low // unit) * unit
            if end <= high:
                return (written + end.to_bytes(4, "big")[:count]).rstrip(b"\0")
        raise AssertionError("an interval without a number in it")

    def _own(self, array: NDArray[Any]) -> Any:
        """In plain Python lists are several times faster than arrays."""
        return np.ascontiguousarray(array) if _kernel().IS_COMPILED else array.tolist()


__all__ = ["decode", "encode", "is_compiled", "layout"]
