"""What painting knows: the stripes of tensors, which of them are constants, and which colours go together.

A *colour* is an integer. Every slot of every axis of every parameter starts with a fresh one. Beside each
tensor travel its *stripes*: a stripe says, for one axis, which colour each slot has. Operators move, merge
and couple stripes (see `prunus.paint.rules`); the connected components of the couplings are the channels.
Colour 0 is never removed: it stands for slots that nobody may prune.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
from torch import Tensor

from prunus.paint.memory import memory_of
from prunus.paint.records import (
    ANCHOR,
    Centre,
    Contraction,
    Hazard,
    Labels,
    Leak,
    Mark,
    Paint,
    Record,
    Statistic,
    Stripe,
    Where,
)
from prunus.paint.users_lines import NOT_USERS

_FORWARD = str(Path(__file__).with_name("forward.py"))


@dataclass
class Canvas:
    """What is painted, coupled, pinned and noted while a model runs."""

    next_colour: int = ANCHOR + 1
    # colours from here on belong to no parameter or buffer, but to what the forward makes
    owned: int = ANCHOR + 1
    edges: list[tuple[Labels, Labels]] = field(default_factory=list)
    whole: list[Labels] = field(default_factory=list)  # every array that `fresh` made
    pins: list[Mark] = field(default_factory=list)
    notes: list[Mark] = field(default_factory=list)
    # colours of copies and random numbers, which are no channels by themselves
    copied: list[Mark] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    statistics: list[Statistic] = field(default_factory=list)
    consumed: list[Labels] = field(default_factory=list)  # axes of parameters that read channels
    made: list[Labels] = field(default_factory=list)  # axes of parameters that make channels
    # axes of parameters that must be zero where a channel is removed
    relied: list[Labels] = field(default_factory=list)
    hazards: list[Hazard] = field(default_factory=list)
    unlisted: bool = (
        False  # whether an index came from nowhere: a list, whose numbers only `KnownLists` keeps
    )
    # parameters that the forward in the other mode reads, by `id`
    read_elsewhere: set[int] = field(default_factory=set)
    contractions: list[Contraction] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    outputs: tuple[Tensor, ...] = ()  # what the model returned
    said: tuple[str, ...] = ()  # and plain numbers and texts among it
    # modules that run, outermost first, each with a number for this run
    running: list[tuple[str, int]] = field(default_factory=list)
    dead_cache: dict[Any, float] = field(default_factory=dict)
    _paints: dict[int, tuple[Tensor, Paint]] = field(default_factory=dict)
    _unsorted: list[Tensor] = field(default_factory=list)  # painted since `_by_storage` was last looked at
    # painted tensors on the same memory, by `id`
    _by_storage: dict[int, dict[int, Tensor]] = field(default_factory=dict)
    _fixed: set[int] = field(default_factory=set)
    _written: set[int] = field(default_factory=set)
    _pinned_if_read: dict[int, tuple[Tensor, list[Mark]]] = field(default_factory=dict)
    _place: Where | None = None
    _meta: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _values: dict[int, Tensor] = field(default_factory=dict)
    # constants made of buffers that hold numbers, which may be others tomorrow
    _volatile: set[int] = field(default_factory=set)

    # -- paint of tensors ------------------------------------------------------------------------------------

    def fresh(self, count: int) -> Labels:
        """`count` new colours."""
        start, self.next_colour = self.next_colour, self.next_colour + count
        self.whole.append(np.arange(start, start + count, dtype=np.int64))
        return self.whole[-1]

    def paint_of(self, tensor: Tensor) -> Paint:
        """The stripes of a tensor; none if it is unpainted."""
        found = self._paints.get(id(tensor))
        return found[1] if found else ()

    def set_paint(self, tensor: Tensor, paint: Paint) -> None:
        """Give a tensor its stripes; stripes along axes of length one say nothing and are dropped."""
        if any(len(stripe.labels) <= 1 for stripe in paint):
            paint = tuple(stripe for stripe in paint if len(stripe.labels) > 1)
        self._paints[id(tensor)] = (tensor, paint)
        self._unsorted.append(tensor)

    def is_fixed(self, tensor: Tensor) -> bool:
        """Whether a tensor is made of parameters, buffers and constants alone, not of the model's inputs."""
        return id(tensor) in self._fixed or (not tensor.is_meta and id(tensor) not in self._written)

    def fix(self, tensor: Tensor) -> None:
        """Declare that a tensor does not depend on the model's inputs."""
        self._fixed.add(id(tensor))
        self._paints.setdefault(id(tensor), (tensor, ()))

    def value_of(self, tensor: Tensor) -> Tensor | None:
        """The real value of a constant, where it is known."""
        if not self.is_fixed(tensor):
            return None
        return self._values.get(id(tensor)) if tensor.is_meta else tensor

    def constant_of(self, tensor: Tensor) -> Tensor | None:
        """The real value of a constant that the forward itself writes down."""
        return None if id(tensor) in self._volatile else self.value_of(tensor)

    def know(self, tensor: Tensor, value: Tensor, volatile: bool = False) -> None:
        """Declare the real value behind a meta tensor that does not depend on the inputs; `volatile` where it
        is that of a buffer.
        """
        self._values[id(tensor)] = value
        (self._volatile.add if volatile else self._volatile.discard)(id(tensor))
        self._paints.setdefault(id(tensor), (tensor, ()))

    def inherit_volatile(self, tensor: Tensor, made: Tensor) -> None:
        """What is made of a value that may be another one tomorrow may be so, too."""
        if id(tensor) in self._volatile:
            self._volatile.add(id(made))

    def note_unlisted(self, indices: Iterable[Tensor | None]) -> None:
        """Note an index that no operator made and nobody declared."""
        self.unlisted = self.unlisted or any(
            t is not None and t.is_meta and id(t) not in self._paints for t in indices
        )

    @property
    def standing_for(self) -> set[int]:
        """By `id`, the real tensors that operators read as their meta twins."""
        return set(self._meta)

    # -- couplings -------------------------------------------------------------------------------------------

    def couple(self, first: Labels, second: Labels) -> None:
        """These colours live and die together, slot by slot (broadcast)."""
        if first is not second:
            self.edges.append((first, second))

    def pin(self, labels: Labels, reason: str, operator: str) -> None:
        """Never prune these colours."""
        self.pins.append(Mark(labels, reason, operator, self.where() if operator else Where("", 0)))

    def pin_if_read(self, tensor: Tensor, labels: Labels, reason: str, operator: str) -> None:
        """Never prune these colours if an operator, or whoever gets the model's outputs,
        reads this tensor.
        """
        self._pinned_if_read.setdefault(id(tensor), (tensor, []))[1].append(
            Mark(labels, reason, operator, self.where())
        )

    def returned(self, outputs: Iterable[Tensor]) -> None:
        """Declare what the model returns."""
        self.outputs = tuple(outputs)
        for tensor in self.outputs:
            self.read(tensor)
            for stripe in self.paint_of(tensor):
                self.pin(stripe.labels, "model output", "")

    def read(self, tensor: Tensor) -> None:
        """An operator, or whoever gets the outputs, reads this tensor."""
        found = self._pinned_if_read.pop(id(tensor), None)
        if found is not None:
            self.pins.extend(found[1])

    def inexact(self, labels: Labels, reason: str, operator: str) -> None:
        """Removing these colours changes the function of what is left."""
        self.notes.append(Mark(labels, reason, operator, self.where()))

    def averaged(self, stripe: Stripe, reason: str, operator: str, centre: Centre | None = None) -> None:
        """A statistic over slots that become zero, or over their distances from a mean."""
        mark = Mark(stripe.labels, reason, operator, self.where())
        self.statistics.append(Statistic(stripe.labels, len(self.records), stripe.axis, mark, centre))

    def hazard(self, tensor: Tensor, labels: Labels, operator: str) -> None:
        """These slots of an operand must not be zero where they are removed."""
        self.hazards.append(Hazard(tensor, labels, operator, self.where()))

    def where(self) -> Where:
        """The user's line that is being run: the innermost frame outside torch and prunus. Found once per
        operator.
        """
        if self._place is None:
            self._place = _users_line()
        return self._place

    def on_storage_of(self, target: Tensor) -> list[Tensor]:
        """All painted tensors on the same memory; sorted by memory as they come, since recurrent layers ask
        at every step.
        """
        for tensor in self._unsorted:
            self._by_storage.setdefault(memory_of(tensor), {})[id(tensor)] = tensor
        self._unsorted.clear()
        return list(self._by_storage.get(memory_of(target), {}).values())


@lru_cache(maxsize=4096)
def _is_users(code: CodeType) -> bool:
    return not code.co_filename.startswith(NOT_USERS)


def _users_line() -> Where:
    """The innermost line of the user's that runs inside the forward; none where a forward is all torch's, as
    those of `nn.Sequential`: whoever asked for the trace is outside.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _is_users(frame.f_code):
        frame = None if _is_outermost(frame.f_code) else frame.f_back
    return Where(frame.f_code.co_filename, frame.f_lineno) if frame else Where("", 0)


def _is_outermost(code: CodeType) -> bool:
    """Whether it is the function that runs a model under a painter."""
    return code.co_name == "run" and code.co_filename == _FORWARD
