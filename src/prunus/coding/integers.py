"""Integers of several tensors as one string of bytes, and back: the same bytes on every machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.coding import tables
from prunus.errors import FileFormatError

Shape = tuple[int, ...]
_START = 11796  # of every context's weight in the mixer, in 65536ths


def encode(tensors: Sequence[NDArray[np.int32]], walks: Sequence[bool] = ()) -> bytes:
    """All integers, tensor after tensor: what one teaches the coder serves the next.

    Args:
        tensors: integers below 2^24 in magnitude; the first axis of two or more is that of rows (a layer's
            outputs), the second that of columns (its inputs), the rest is a kernel.
        walks: which of them are places of `prunus.coding.trellis`; () = none.

    Raises:
        FileFormatError: an integer is too large.
    """
    coder = _Coder.for_writing(tensors)
    for tensor, walk in zip(tensors, _each(walks, tensors), strict=True):
        coder.run(tensor.astype(np.int64).ravel(), tensor.shape, walk)
    return coder.finish()


def sizes(tensors: Sequence[NDArray[np.int32]], walks: Sequence[bool] = ()) -> list[int]:
    """Bytes that each tensor adds to `encode` of all, what is not a whole byte going to the next one."""
    coder, ends = _Coder.for_writing(tensors), [0]
    for tensor, walk in zip(tensors, _each(walks, tensors), strict=True):
        coder.run(tensor.astype(np.int64).ravel(), tensor.shape, walk)
        ends.append(coder.place)
    return [end - start for start, end in pairwise(ends)]


def _each(walks: Sequence[bool], of: Sequence[object]) -> Sequence[bool]:
    return walks or [False] * len(of)


def decode(data: bytes, shapes: Sequence[Shape], walks: Sequence[bool] = ()) -> list[NDArray[np.int32]]:
    """The integers of tensors of these shapes; whatever the bytes are, as many come out, and missing ones
    count as zeros. That they are the right ones is for a checksum to say.
    """
    coder = _Coder(np.array(list(data), dtype=np.uint8), encodes=False)
    found = []
    for shape, walk in zip(shapes, _each(walks, shapes), strict=True):
        integers = np.zeros(math.prod(shape), dtype=np.int64)
        found.append(coder.run(integers, shape, walk).astype(np.int32).reshape(shape))
    return found


def is_compiled() -> bool:
    """Whether the coder is compiled (the extra `coding`), or runs as plain Python, far slower."""
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
        scratch = [np.zeros(8, dtype=np.int64) for _ in range(6)]
        chances, counts = np.full(slots, 1 << 25, dtype=np.int32), np.zeros(slots, dtype=np.uint8)
        arrays = [*scratch, chances, counts, weights.ravel(), np.array(state), data]
        constants = [tables.SQUASHED, tables.STRETCHED, tables.RATES, tables.TRUST]
        self._memory = kernel.Memory(*(self._own(array) for array in (*arrays, *constants)))

    @classmethod
    def for_writing(cls, tensors: Sequence[NDArray[np.int32]]) -> _Coder:
        """A coder with room for these tensors. Raises FileFormatError where an integer is too large."""
        sizes = [np.abs(tensor.astype(np.int64)) for tensor in tensors if tensor.size]
        largest = max((int(size.max()) for size in sizes), default=0)
        if largest >= 1 << 24:
            raise FileFormatError(f"The coder takes integers below {1 << 24}, and here is one of {largest}.")
        return cls(np.zeros(64 + sum(8 * tensor.size for tensor in tensors), dtype=np.uint8), encodes=True)

    @property
    def place(self) -> int:
        """Bytes written so far."""
        return int(self._memory.state[2])

    def run(self, integers: NDArray[np.int64], shape: Shape, walks: bool) -> NDArray[np.int64]:
        """Encode integers, or decode into their place; returns them."""
        own, (rows, columns, places, width) = self._own(integers), layout(shape)
        sums = (self._own(np.zeros(count, dtype=np.int64)) for count in (columns, places))
        _kernel().code_integers(own, rows, columns, places, width, *sums, int(walks), self._memory)
        return np.asarray(own, dtype=np.int64)

    def finish(self) -> bytes:
        """What was written, with the shortest end that still says where in the interval it lies; zeros at the
        end go without saying.
        """
        low, high, place = (int(number) for number in self._memory.state[:3])
        written = bytes(np.asarray(self._memory.data[:place], dtype=np.uint8))
        for count in range(5):
            unit = 1 << (32 - 8 * count)
            end = -(-low // unit) * unit
            if end <= high:
                return (written + end.to_bytes(4, "big")[:count]).rstrip(b"\0")
        raise AssertionError("an interval without a number in it")

    def _own(self, array: NDArray[Any]) -> Any:
        """In plain Python lists are several times faster than arrays."""
        return np.ascontiguousarray(array) if _kernel().IS_COMPILED else array.tolist()


__all__ = ["decode", "encode", "is_compiled", "layout", "sizes"]
