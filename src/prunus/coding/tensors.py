"""What a coded tensor is: integers on a grid, indices of a codebook, or the values themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.coding.trellis import places_of


@dataclass(frozen=True, eq=False)
class Grid:
    """Values on a uniform grid: `step` times an integer, each multiplied in single precision.

    Attributes:
        integers: int32, of the tensor's shape.
        step: a positive number of single precision.
        trellis: whether every row of integers is a walk of `prunus.coding.trellis`; of two axes or more.
    """

    integers: NDArray[np.int32]
    step: float
    trellis: bool = False


@dataclass(frozen=True, eq=False)
class Codebook:
    """Values out of a codebook (Han et al. 2016, "Deep Compression", section 3: shared weights).

    Attributes:
        indices: int32, of the tensor's shape, each below the number of centroids.
        centroids: float32, (k,).
    """

    indices: NDArray[np.int32]
    centroids: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Plain:
    """Values as they are, of any type that a tensor of the network has."""

    values: NDArray[Any]


CodedTensor = Grid | Codebook | Plain


def values_of(coded: CodedTensor) -> NDArray[Any]:
    """The decoded values, float32 unless they are plain; the same bits on every machine."""
    if isinstance(coded, Grid):
        return coded.integers.astype(np.float32) * np.float32(coded.step)
    if isinstance(coded, Codebook):
        return coded.centroids[coded.indices]
    return coded.values


def streamed(coded: Grid | Codebook) -> NDArray[np.int32]:
    """The integers that stand for a tensor in a file: its own, its indices, or its places on a trellis.

    Raises FileFormatError where rows are no walks.
    """
    if isinstance(coded, Codebook):
        return coded.indices
    return places_of(coded.integers) if coded.trellis else coded.integers


def walks(coded: CodedTensor) -> bool:
    """Whether these are places on a trellis."""
    return isinstance(coded, Grid) and coded.trellis


__all__ = ["Codebook", "CodedTensor", "Grid", "Plain", "streamed", "values_of", "walks"]
