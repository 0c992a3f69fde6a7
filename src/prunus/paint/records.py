"""What painting is made of: stripes of colours on tensors, and the records of what operators did to them."""

from __future__ import annotations

import linecache
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prunus.paint.operator_names import with_operators, without_operators

Labels = NDArray[np.int64]
Values = NDArray[np.float64]

_PLACE = re.compile(
    r" \(([\w.]+), \S.*?:\d+(?:: .*)?\)\Z", re.DOTALL
)  # (dropout, net.py:12: x = F.dropout(x))
ANCHOR = 0  # the colour that is never removed


@dataclass(
    slots=True
    # not frozen, as setting fields would then take longer than everything else that happens to a stripe;
    # nobody changes one
)
class Stripe:
    """The colours along one axis of a tensor.

    `dead[i]` is the value that slot i has in the *masked* network once its colour is removed: 0 nearly
    everywhere, 0.5 after a sigmoid, NaN where it is not a known constant. Arrays of one value (nearly all)
    are made by `constant`, so that rules need not look at each slot.
    """

    axis: int
    labels: Labels
    dead: Values

    def on(self, axis: int) -> Stripe:
        """The same stripe on another axis."""
        return self if axis == self.axis else Stripe(axis, self.labels, self.dead)

    def take(self, index: Any, axis: int | None = None) -> Stripe:
        """The stripe of the slots at `index`."""
        labels, value = self.labels[index], uniform(self.dead)
        return Stripe(
            self.axis if axis is None else axis,
            labels,
            self.dead[index] if value is None else constant(value, len(labels)),
        )


Paint = tuple[Stripe, ...]


def constant(value: float, count: int) -> Values:
    """The same dead value `count` times, shape (count,), read-only."""
    return _constant(value if value == value else math.nan, count)  # one NaN, as NaNs are no equal keys


@lru_cache(maxsize=8192)
def _constant(value: float, count: int) -> Values:
    return np.broadcast_to(np.float64(value), (count,))


def uniform(dead: Values) -> float | None:
    """The value of an array made by `constant`; None for any other."""
    return float(dead[0]) if dead.strides == (0,) and len(dead) else None


def is_zero(dead: Values) -> bool:
    """Whether all slots become zero."""
    value = uniform(dead)
    return value == 0 if value is not None else not dead.any()


def zero_or_unknown(dead: Values) -> Values:
    """Zero where a slot becomes zero, unknown elsewhere: what a function with f(0) = 0 leaves."""
    value = uniform(dead)
    if value is not None:
        return constant(0.0 if value == 0 else math.nan, len(dead))
    return np.where(dead == 0, 0.0, np.nan)


def zero_if_either(first: Values, second: Values) -> Values:
    """Zero where one of two factors becomes zero, unknown elsewhere, shape (slots,)."""
    a, b = uniform(first), uniform(second)
    if a == 0 or b == 0:
        return constant(0.0, len(first))
    if a is not None and b is not None:
        return constant(math.nan, len(first))
    return np.where((first == 0) | (second == 0), 0.0, np.nan)


def plus(first: Values, second: Values) -> Values:
    """The sum of two rows of dead values."""
    a, b = uniform(first), uniform(second)
    return first + second if a is None or b is None else constant(a + b, len(first))


def same_dead(first: Values, second: Values) -> bool:
    """Whether two rows of dead values are equal, unknown ones included."""
    return first is second or np.array_equal(first, second, equal_nan=True)


def joined(deads: Sequence[Values]) -> Values:
    """Dead values one after the other."""
    values = [uniform(dead) for dead in deads]
    if values[0] is not None and all(value == values[0] for value in values):
        return constant(values[0], sum(map(len, deads)))
    return np.concatenate(deads)


def zeros_like(labels: Labels) -> Values:
    """Dead values of slots whose producer is zeroed by the mask."""
    return constant(0.0, len(labels))


def unknown_like(labels: Labels) -> Values:
    """Dead values of slots that are not a known constant in the masked network."""
    return constant(math.nan, len(labels))


@dataclass(slots=True)
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


def without_place(text: str) -> str:
    """A note that ends in an operator and the user's line, without the line: files are given to strangers."""
    return _PLACE.sub(r" (\1)", text)


@dataclass(slots=True)
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

    def __reduce__(self) -> tuple[Any, ...]:
        return _record, tuple([without_operators(getattr(self, name)) for name in self.__slots__])


def _record(*fields: Any) -> Record:
    return Record(*map(with_operators, fields))


class Mark(NamedTuple):
    """Colours that are pinned, or whose removal is inexact, with the reason."""

    labels: Labels
    reason: str
    operator: str
    where: Where


class Leak(NamedTuple):
    """A contraction over slots that are a constant other than zero once removed: the constant belongs into
    the next bias.

    `labels` and `dead` cover the whole contracted axis; slots that become zero have dead value 0. `weight`
    are the colours of the parameter that they are multiplied with, if it is one that becomes zero where it
    may not be spared: then nothing comes through.
    """

    labels: Labels
    dead: Values
    record: int
    foldable: bool
    weight: Labels | None = None


class Hazard(NamedTuple):
    """A removed slot of `tensor` would be divided by, or its logarithm taken, and it becomes zero."""

    tensor: Tensor
    labels: Labels
    operator: str
    where: Where


class Centre(NamedTuple):
    """The record of a mean that was subtracted from all slots, and the power, 1 or 2, to which their
    distances were raised.
    """

    record: int
    power: int


class Statistic(NamedTuple):
    """Colours of slots that become zero and that an operator averages over, along an axis of its first
    operand.

    `centre` is what was subtracted from them before, if that is a mean.
    """

    labels: Labels
    record: int
    axis: int
    mark: Mark
    centre: Centre | None = None


class Contraction(NamedTuple):
    """Multiply-accumulates of one operator: `constant` times the slots kept in each of `factors`."""

    record: int
    constant: int
    factors: tuple[Labels, ...]
