"""Which tensors lie on one piece of memory, and which views of it share elements."""

from __future__ import annotations

import torch
from torch import Tensor


def memory_of(tensor: Tensor) -> int:
    """A number for the memory of a tensor; a sparse one, which lies in several pieces, has it for itself."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else -id(tensor)


def may_overlap(first: Tensor, second: Tensor) -> bool:
    """Whether two views of one storage may share an element; False only where they are boxes of one grid that
    do not meet, as pieces of a split.
    """
    if first.layout is not torch.strided:
        return True
    strides = [stride for stride, n in zip(first.stride(), first.shape) if n > 1]
    if not _is_box(first, strides) or not _is_box(second, strides):
        return True
    starts = zip(_place(int(first.storage_offset()), strides), _place(int(second.storage_offset()), strides))
    lengths = zip(_lengths(first), _lengths(second))
    return all(a < b + n and b < a + m for (a, b), (m, n) in zip(starts, lengths))


def _is_box(tensor: Tensor, strides: list[int]) -> bool:
    """Whether a view is a box in the grid of these strides, largest stride first."""
    own = [stride for stride, n in zip(tensor.stride(), tensor.shape) if n > 1]
    if own != strides or sorted(strides, reverse=True) != strides or 0 in strides:
        return False
    ends = [
        (start + n) * stride
        for start, n, stride in zip(_place(int(tensor.storage_offset()), strides), _lengths(tensor), strides)
    ]
    return all(end <= outer for end, outer in zip(ends[1:], strides))


def _lengths(tensor: Tensor) -> list[int]:
    return [n for n in tensor.shape if n > 1]


def _place(offset: int, strides: list[int]) -> list[int]:
    """The coordinates of an offset in the grid."""
    result = []
    for stride in strides:
        result.append(offset // stride)
        offset %= stride
    return result
