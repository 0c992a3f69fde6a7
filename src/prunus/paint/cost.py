"""Cost of any plan in microseconds: every count is a product of axis lengths, and an axis length is linear in
the channels kept per group.

MACs are multiply-accumulates of convolutions and matrix products (FLOPs = 2 x MACs), for one forward on the
example inputs as they were given to `trace`; biases, normalisations and activations are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunus.paint.records import Labels

Counts = NDArray[np.float64]
_MOST_AXES = 6


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs: MACs for one forward on the example inputs, parameters, bytes of parameters and
    buffers, and the largest sum of activations alive at one time (bytes, in-place operators and views counted
    once).
    """

    macs: int
    params: int
    bytes: int
    peak_activation_bytes: int


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One convolution or matrix product before and after a plan. Widths are its output channels."""

    name: str
    op: str
    weight_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    width_before: int
    width_after: int
    macs_before: int
    macs_after: int
    params_before: int
    params_after: int


class AxisTable:
    """Distinct painted axes, as arrays of channel numbers (-1: pinned). Index 0 stands for a plain axis of
    length one.
    """

    def __init__(self, channel_of_colour: Labels) -> None:
        self.channel_of_colour = channel_of_colour
        self._seen: dict[int, tuple[Labels, tuple[int, int]]] = {}
        self._index: dict[bytes, int] = {}
        self._arrays: list[Labels] = [np.full(1, -1, dtype=np.int64)]

    def __len__(self) -> int:
        return len(self._arrays)

    def add(self, labels: Labels) -> tuple[int, int]:
        """(constant factor, axis index) of one axis: an axis without prunable channels is a constant."""
        found = self._seen.get(id(labels))
        if found is None:
            index = self.pattern(self.channel_of_colour[labels])
            self._seen[id(labels)] = found = (labels, (1 if index else len(labels), index))
        return found[1]

    def pattern(self, channels: Labels) -> int:
        """The index of an axis with these channels; 0 if it has none."""
        key = channels.tobytes()
        index = self._index.get(key)
        if index is None:
            index = len(self._arrays) if channels.max(initial=-1) >= 0 else 0
            self._index[key] = index
            if index:
                self._arrays.append(channels)
        return index

    def slots(self) -> tuple[Labels, Labels]:
        """Axis index and channel of every slot that is not pinned."""
        channels = np.concatenate(self._arrays)
        which = np.arange(len(self)).repeat([len(a) for a in self._arrays])
        return which[channels >= 0], channels[channels >= 0]

    def lengths(self) -> Labels:
        """Length of every axis, shape (axes,)."""
        return np.array([len(a) for a in self._arrays], dtype=np.int64)


class Terms:
    """A list of products `constant * length(axis) * length(axis) ...`."""

    def __init__(self) -> None:
        self._constants: list[int] = []
        self._factors: list[list[int]] = []

    def add(self, constant: int, factors: Sequence[int]) -> int:
        """Append one product; its position."""
        if len(factors) > _MOST_AXES:
            raise ValueError(f"A tensor with more than {_MOST_AXES} painted axes.")
        self._constants.append(constant)
        self._factors.append([*factors, *[0] * (_MOST_AXES - len(factors))])
        return len(self._constants) - 1

    def freeze(self) -> tuple[Counts, NDArray[np.int64]]:
        """Constants, shape (n,), and axis indices, shape (n, 6)."""
        factors = np.array(self._factors, dtype=np.int64).reshape(-1, _MOST_AXES)
        width = int((factors != 0).any(axis=0).sum())  # unused places are at the end of every row
        return np.array(self._constants, dtype=np.float64), factors[:, : max(1, width)]


@dataclass(frozen=True)
class CostModel:
    """Evaluates any numbers of channels kept per group, shape (groups,)."""

    per_group: Counts  # (axes, groups): slots of an axis per channel of a group
    fixed: Counts  # (axes,): slots that are never removed
    macs: tuple[Counts, NDArray[np.int64]]
    params: tuple[Counts, NDArray[np.int64]]
    bytes: tuple[Counts, NDArray[np.int64]]
    activations: tuple[Counts, NDArray[np.int64]]
    births: NDArray[np.int64]
    deaths: NDArray[np.int64]

    def lengths(self, kept: NDArray[np.int64]) -> Counts:
        """Length of every distinct axis."""
        return self.fixed + self.per_group @ kept

    def count(self, what: str, kept: NDArray[np.int64]) -> int:
        """MACs, params or bytes."""
        return int(_total(getattr(self, what), self.lengths(kept)))

    def activation_bytes(self, kept: NDArray[np.int64]) -> float:
        """Bytes of all activations, each counted once whatever its life."""
        return _total(self.activations, self.lengths(kept))

    def cost(self, kept: NDArray[np.int64]) -> Cost:
        """All figures at once."""
        lengths = self.lengths(kept)
        sizes = _products(self.activations, lengths)
        change = np.zeros(int(self.deaths.max(initial=0)) + 2)
        np.add.at(change, self.births, sizes)
        np.add.at(change, self.deaths + 1, -sizes)
        peak = int(np.cumsum(change).max(initial=0))
        return Cost(
            int(_total(self.macs, lengths)),
            int(_total(self.params, lengths)),
            int(_total(self.bytes, lengths)),
            peak,
        )


def _products(terms: tuple[Counts, NDArray[np.int64]], lengths: Counts) -> Counts:
    constants, factors = terms
    return constants * lengths[factors].prod(axis=1) if len(constants) else constants


def _total(terms: tuple[Counts, NDArray[np.int64]], lengths: Counts) -> float:
    return float(_products(terms, lengths).sum())
