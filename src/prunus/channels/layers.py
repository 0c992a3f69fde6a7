"""What painting is made of: layers of colours on tensors, and the records of what operators did to them."""

from __future__ import annotations

import linecache
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Labels = NDArray[np.int64]
Values = NDArray[np.float64]

ANCHOR = 0  # the colour that is never removed


@dataclass(frozen=True, slots=True)
class Layer:
    """The colours along one axis of a tensor.

    `dead[i]` is the value that slot i has in the *masked* network once its colour is removed: 0 nearly everywhere, 0.5 after a sigmoid, NaN where
    it is not a known constant.
    """

    axis: int
    labels: Labels
    dead: Values

    def on(self, axis: int) -> Layer:
        """The same layer on another axis."""
        return self if axis == self.axis else Layer(axis, self.labels, self.dead)

    def take(self, index: Any, axis: int | None = None) -> Layer:
        """The layer of the slots at `index`."""
        return Layer(self.axis if axis is None else axis, self.labels[index], self.dead[index])


Paint = tuple[Layer, ...]


def zeros_like(labels: Labels) -> Values:
    """Dead values of slots whose producer is zeroed by the mask."""
    return np.zeros(labels.shape, dtype=np.float64)


def unknown_like(labels: Labels) -> Values:
    """Dead values of slots that are not a known constant in the masked network."""
    return np.full(labels.shape, np.nan)


@dataclass(frozen=True, slots=True)
class Where:
    """A line of the user's code."""

    file: str
    line: int

    def __str__(self) -> str:
        if not self.file:
            return ""
        code = linecache.getline(self.file, self.line).strip()
        name = Path(self.file).name
        return f"{name}:{self.line}: {code}" if code else f"{name}:{self.line}"


@dataclass(frozen=True, slots=True)
class Record:
    """One operator call: what it did to the paint, enough to replay, cost and rewrite it."""

    operator: str
    module: str
    where: Where
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: tuple[Tensor, ...]
    inputs: tuple[Paint, ...]
    outputs: tuple[Tensor, ...]
    paints: tuple[Paint, ...]
    values: tuple[Tensor | None, ...]  # what outputs are, where they are constants


@dataclass(frozen=True, slots=True)
class Mark:
    """Colours that are pinned, or whose removal is inexact, with the reason."""

    labels: Labels
    reason: str
    operator: str
    where: Where


@dataclass(frozen=True, slots=True)
class Leak:
    """A contraction over slots that are a constant other than zero once removed: the constant belongs into the next bias.

    `labels` and `dead` cover the whole contracted axis; slots that become zero have dead value 0.
    """

    labels: Labels
    dead: Values
    record: int
    foldable: bool


@dataclass(frozen=True, slots=True)
class Contraction:
    """Multiply-accumulates of one operator: `constant` times the slots kept in each of `factors`."""

    record: int
    constant: int
    factors: tuple[Labels, ...]
