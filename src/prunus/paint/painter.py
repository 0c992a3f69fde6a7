"""Painting: run a model once on meta tensors and let every tensor carry the colours of its channels.

A *colour* is an integer. Every slot of every axis of every parameter starts with a fresh one. Beside each
tensor travel its *stripes*: a stripe says, for one axis, which colour each slot has. Operators move, merge
and couple stripes (see `prunus.paint.rules`); the connected components of the couplings are the channels.
Colour 0 is never removed: it stands for slots that nobody may prune.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from prunus.errors import TraceError
from prunus.paint.memory import may_overlap
from prunus.paint.meta_kernels import BLANKS, Blank, like, on_zeros
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
    constant,
    is_zero,
    same_dead,
    unknown_like,
)

_ROOMS = [Path(__file__).parents[1] / room for room in ("paint", "plans", "surgery")]
# Where files begin whose lines are not the user's: torch's, those that paint or rehearse, and what has none.
NOT_USERS = (*(f"{folder}{os.sep}" for folder in (Path(torch.__file__).parent, *_ROOMS)), "<")
_CREATION = frozenset(
    {
        "zeros",
        "ones",
        "full",
        "empty",
        "arange",
        "linspace",
        "eye",
        "scalar_tensor",
        "tril_indices",
        "triu_indices",
    }
)
_DRAWN = frozenset({"rand", "randn", "randint", "randperm", "normal"})  # unless they are given tensors
_UNKNOWN_SHAPES = frozenset({torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output})
_EMPTY = torch.ops.aten.empty.memory_format
_SCALARS = frozenset({"_local_scalar_dense", "item", "is_nonzero"})
# elements; constants up to this size are computed for real, so that indices and `.item()` have values
_LARGEST_CONSTANT = 1 << 16

Tensors = tuple[Tensor, ...]


@dataclass(slots=True)
class Call:
    """An operator call as a rule sees it."""

    painter: Painter
    operator: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Tensors
    tensors: Tensors
    # axes of parameters that are multiplied with channels and summed over
    consumed: list[Labels] = field(default_factory=list)

    def arg(self, index: int, name: str, default: Any = None) -> Any:
        """Positional argument `index`, or the keyword `name`."""
        if index < len(self.args):
            return self.args[index]
        return self.kwargs.get(name, default)

    def paint(self, tensor: Tensor | None) -> Paint:
        """The stripes of a tensor."""
        return () if tensor is None else self.painter.paint_of(tensor)

    def stripes(self, tensor: Tensor | None, axis: int) -> list[Stripe]:
        """The stripes of a tensor that vary along `axis`."""
        if tensor is None:
            return []
        if axis < 0:
            axis += tensor.dim()
        return [stripe for stripe in self.painter.paint_of(tensor) if stripe.axis == axis]

    def pin(self, stripes: Sequence[Stripe], reason: str) -> None:
        """Never prune these colours."""
        for stripe in stripes:
            self.painter.pin(stripe.labels, reason, self.operator)

    def inexact(self, stripes: Sequence[Stripe], reason: str) -> None:
        """Removing these colours changes the function of what is left."""
        for stripe in stripes:
            self.painter.inexact(stripe.labels, reason, self.operator)

    def averaged(self, stripes: Sequence[Stripe], reason: str) -> None:
        """The operator takes a statistic over these colours: exact where they become zero, and their number
        is kept in mind; else inexact.
        """
        for stripe in stripes:
            if is_zero(stripe.dead):
                self.painter.averaged(stripe, reason, self.operator)
                if all(map(self.painter.is_fixed, self.tensors)):
                    self.painter.relied.append(stripe.labels)
            else:
                self.painter.inexact(stripe.labels, reason, self.operator)


Rule = Callable[[Call], Sequence[Paint]]


@dataclass(slots=True)
class Operator:
    """What the painter needs to know about one ATen operator, looked up once: its name, and how it is run and
    painted.
    """

    name: str
    mutable: bool
    random: bool
    reshapes: bool  # its first operand, in place
    rule: Rule | None
    blank: Blank | None


@dataclass
class Painter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that paints. Enter it, run the model on meta tensors, leave it, and read the couplings
    off.
    """

    rules: dict[str, Rule]
    fallback: Callable[[Call], Sequence[Paint]]
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
    # modules that run, outermost first, each with a number for this run
    running: list[tuple[str, int]] = field(default_factory=list)
    dead_cache: dict[Any, float] = field(default_factory=dict)
    _operators: dict[Any, Operator] = field(default_factory=dict)
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

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled while painting, and the guard against it would be paid at every operator."""
        return False

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

    def note_unlisted(self, indices: Iterable[Tensor | None]) -> None:
        """Note an index that no operator made and nobody declared."""
        self.unlisted = self.unlisted or any(
            t is not None and t.is_meta and id(t) not in self._paints for t in indices
        )

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
        for tensor in outputs:
            self._read(tensor)
            for stripe in self.paint_of(tensor):
                self.pin(stripe.labels, "model output", "")

    def _read(self, tensor: Tensor) -> None:
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

    # -- the dispatch mode -----------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _EMPTY and args[0] == [0]:  # batch norm's reserve
            return func(*args, **kwargs)
        self._place = None
        operator = self.look_up(func)
        if operator.name in _SCALARS:
            return self._scalar(func, args)
        tensors = tensors_of(args, kwargs)
        if operator.name in _CREATION or (operator.name in _DRAWN and not tensors):
            return self._create(operator, func, args, kwargs)
        if (
            operator.mutable
            and not operator.reshapes
            and (operator.random or not all(map(self.is_fixed, tensors)))
        ):
            self._unfix(tensors[0])
        on_meta = sum(t.is_meta for t in tensors)
        if on_meta < len(tensors) and on_meta:
            args, kwargs = self._to_meta(args), {k: self._to_meta_one(v) for k, v in kwargs.items()}
            tensors = tensors_of(args, kwargs)
        fetched = self._fetched(operator, func, args, kwargs)
        if fetched is None and (on_meta or not tensors) and kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")
        before = self._as_it_was(tensors[0]) if operator.reshapes else None
        if fetched is not None:
            result: Any = fetched
        else:
            result = shape_of_call(operator, func, args, kwargs) if on_meta else func(*args, **kwargs)
        outputs = (
            (result,)
            if isinstance(result, Tensor)
            else tensors_of(result if isinstance(result, (tuple, list)) else ())
        )
        if (
            tensors
            and not operator.random
            and all(t.is_meta and self.value_of(t) is not None for t in tensors)
        ):
            self._propagate(func, args, kwargs, outputs)
        if before is not None:
            args, tensors = with_other(tuple(args), tensors[0], before), (before, *tensors[1:])
        self._apply(operator, func, args, kwargs, tensors, outputs)
        return result

    def look_up(self, func: Any) -> Operator:
        """What is known about an operator."""
        found = self._operators.get(func)
        if found is not None:
            return found
        name = func._schema.name.removeprefix("aten::")
        rule = self.rules.get(name) or self.rules.get(name.rstrip("_"))
        random = torch.Tag.nondeterministic_seeded in func.tags
        operator = self._operators[func] = Operator(
            name,
            func._schema.is_mutable,
            random,
            torch.Tag.inplace_view in func.tags,
            rule,
            BLANKS.get(str(func)),
        )
        return operator

    def _fetched(self, operator: Operator, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
        """A constant that is copied to the CPU has its numbers there: `tolist` asks for that, and so does who
        wants an array.
        """
        if operator.name != "_to_copy" or str(kwargs.get("device")) != "cpu" or not args[0].is_meta:
            return None
        value = self.value_of(args[0])
        return None if value is None else func(value, *args[1:], **kwargs)

    def _propagate(self, func: Any, args: Any, kwargs: dict[str, Any], outputs: tuple[Tensor, ...]) -> None:
        """Compute a constant for real beside its meta twin, so that indices and conditions made of it have
        values.
        """
        if sum(t.numel() for t in outputs) > _LARGEST_CONSTANT:
            return
        real_kwargs = {k: self._real(v) for k, v in kwargs.items()}
        if isinstance(real_kwargs.get("device"), torch.device):
            real_kwargs["device"] = torch.device("cpu")
        values = func(*(self._real(a) for a in args), **real_kwargs)
        volatile = not self._volatile.isdisjoint(map(id, tensors_of(args, kwargs)))
        for tensor, value in zip(
            outputs, tensors_of(values if isinstance(values, (tuple, list)) else (values,))
        ):
            self.know(tensor, value, volatile)

    def _real(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._values[id(value)]
        if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
            return type(value)(self._real(v) for v in value)
        return value

    def _apply(
        self,
        operator: Operator,
        func: Any,
        args: Any,
        kwargs: dict[str, Any],
        tensors: Tensors,
        outputs: Tensors,
    ) -> None:
        """Paint the outputs and keep a record."""
        inputs = tuple([self.paint_of(t) for t in tensors])
        fixed = not operator.random and all(map(self.is_fixed, tensors))
        if self._pinned_if_read:
            for tensor in tensors:
                self._read(tensor)
        stale = self.paint_of(outputs[0]) if operator.mutable and not operator.reshapes and outputs else ()
        if operator.rule is None and not any(inputs):
            paints: Sequence[Paint] = ((),) * len(outputs)
        else:
            call = Call(self, operator.name, func, tuple(args), kwargs, outputs, tensors)
            paints = (operator.rule or self.fallback)(call)
            self._follow_parameters(call, inputs, fixed, paints)
        for tensor, paint in zip(outputs, paints, strict=True):
            for stripe in paint:
                if len(stripe.labels) == 1:  # from here on nothing says that it is there
                    self.pin(stripe.labels, "single slots are selected", operator.name)
            self.set_paint(tensor, paint)
            (self._fixed.add if fixed else self._fixed.discard)(id(tensor))
        if stale:
            self._refresh_aliases(outputs[0], stale)
        self._record(operator.name, func, tuple(args), kwargs, tensors, inputs, outputs)

    def _follow_parameters(
        self, call: Call, inputs: Sequence[Paint], fixed: bool, paints: Sequence[Paint]
    ) -> None:
        """Note which axes of parameters read channels, which make them, and whose removed slots are taken for
        zero.

        What is multiplied with a removed channel and summed over need not be zero itself; what goes into a
        channel, or is summed or looked at in any other way on its way into one, must be.
        """
        self.consumed.extend(call.consumed)
        if fixed:
            kept = [stripe.labels for paint in paints for stripe in paint]
            self.relied.extend(y.labels for paint in inputs for y in paint if not is_among(y.labels, kept))
            return
        for tensor, paint in zip(call.tensors, inputs):
            if paint and self.is_fixed(tensor):
                self.made.extend(
                    y.labels for y in paint if not any(y.labels is labels for labels in call.consumed)
                )

    def _record(
        self,
        operator: str,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tensors: Tensors,
        inputs: tuple[Paint, ...],
        outputs: Tensors,
    ) -> None:
        module = self.running[-1][0] if self.running else ""
        known = [self.value_of(t) for t in outputs]
        values = tuple([None if value is None else value.clone() for value in known])
        paints = tuple([self.paint_of(t) for t in outputs])
        self.records.append(
            Record(
                operator, module, self.where(), func, args, kwargs, tensors, inputs, outputs, paints, values
            )
        )
        self.on_record()

    def _refresh_aliases(self, target: Tensor, before: Paint) -> None:
        """After a tensor was changed in place: what other views of its memory hold in removed slots is no
        longer known, unless nothing changed.
        """
        held = {stripe.axis: stripe.dead for stripe in before}  # a stripe that is gone was pinned
        if all(
            stripe.axis in held and same_dead(held[stripe.axis], stripe.dead)
            for stripe in self.paint_of(target)
        ):
            return
        for tensor in self._on_storage_of(target):
            if tensor is not target and may_overlap(tensor, target):
                self.set_paint(
                    tensor,
                    tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in self.paint_of(tensor)),
                )

    def _on_storage_of(self, target: Tensor) -> list[Tensor]:
        """All painted tensors on the same memory; sorted by memory as they come, since recurrent layers ask
        at every step.
        """
        for tensor in self._unsorted:
            self._by_storage.setdefault(tensor.untyped_storage()._cdata, {})[id(tensor)] = tensor
        self._unsorted.clear()
        return list(self._by_storage.get(target.untyped_storage()._cdata, {}).values())

    def on_record(self) -> None:
        """Called after each operator; a rehearsal compares here."""

    def _create(self, operator: Operator, func: Any, args: Any, kwargs: Any) -> Tensor:
        """A constant, or random numbers, made in the forward: slots get colours of their own, so that they
        can shrink with what they meet.
        """
        result: Tensor = func(*args, **{**kwargs, "device": torch.device("meta")})
        if result.numel() == 0:
            return result
        dead = {"zeros": 0.0, "ones": 1.0}.get(operator.name, float("nan"))
        if operator.name == "full" and isinstance(args[1], (int, float)):
            dead = float(args[1])
        self._paints[id(result)] = (result, ())
        if not operator.random:
            self._fixed.add(id(result))
            if result.numel() <= _LARGEST_CONSTANT and operator.name != "empty":
                self.know(result, func(*args, **{**kwargs, "device": torch.device("cpu")}))
        paint = tuple(
            Stripe(axis, self.fresh(size), constant(dead, size))
            for axis, size in enumerate(result.shape)
            if size > 1
        )
        for stripe in paint if operator.random else ():
            self.inexact(stripe.labels, "random numbers for the channels", operator.name)
            self.copied.append(Mark(stripe.labels, "random numbers", operator.name, self.where()))
        self.set_paint(result, paint)
        self._record(operator.name, func, tuple(args), kwargs, (), (), (result,))
        return result

    def _as_it_was(self, tensor: Tensor) -> Tensor:
        """A tensor with the shape and the paint of one that gets another shape in place; records hold it from
        here on.
        """
        before: Tensor = torch.ops.aten.alias.default(tensor)
        self.set_paint(before, self.paint_of(tensor))
        (self._fixed.add if self.is_fixed(tensor) else self._fixed.discard)(id(before))
        for record in self.records:
            if any(tensor is one for one in (*record.tensors, *record.outputs)):
                record.args, record.kwargs = (
                    with_other(record.args, tensor, before),
                    with_other(record.kwargs, tensor, before),
                )
                record.tensors, record.outputs = (
                    with_other(record.tensors, tensor, before),
                    with_other(record.outputs, tensor, before),
                )
        self._read(tensor)
        return before

    def _unfix(self, target: Tensor) -> None:
        """A constant that is written into with something computed from the inputs is a constant no more."""
        for tensor in (target, target._base):
            self._fixed.discard(id(tensor))
            self._written.add(id(tensor))
            self._values.pop(id(tensor), None)

    def _to_meta(self, args: Any) -> tuple[Any, ...]:
        return tuple(self._to_meta_one(a) for a in args)

    def _to_meta_one(self, value: Any) -> Any:
        if isinstance(value, Tensor) and value.device.type != "meta":
            return self._twin(value)
        if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
            return type(value)(self._to_meta_one(v) for v in value)
        return value

    @property
    def standing_for(self) -> set[int]:
        """By `id`, the real tensors that operators read as their meta twins."""
        return set(self._meta)

    def _twin(self, tensor: Tensor) -> Tensor:
        """The meta tensor that stands for a real constant; same paint, value known."""
        found = self._meta.get(id(tensor))
        if found is None:
            meta = like(tensor)
            self._meta[id(tensor)] = found = (tensor, meta)
            self.know(meta, tensor)
        (self._fixed.add if self.is_fixed(tensor) else self._fixed.discard)(id(found[1]))
        self.set_paint(found[1], self.paint_of(tensor))
        return found[1]

    def _scalar(self, func: Any, args: Any) -> Any:
        value = self.value_of(args[0])
        if value is None and self._is_check(args[0]):
            return True
        if value is None:
            raise TraceError(
                f"The forward reads the value of a tensor at {self.where()}, so what it computes depends on"
                " the data and cannot be traced; replace the condition by tensor operators (torch.where), or"
                " trace the sub-module that does not need it."
            )
        return func(value)

    def _is_check(self, tensor: Tensor) -> bool:
        """Whether torch asks if all of something holds, to raise an error otherwise: a forward that goes on
        has got a yes.
        """
        return bool(self.records) and self.records[-1].operator == "_is_all_true" and tensor.dim() == 0


def is_among(labels: Labels, kept: Sequence[Labels]) -> bool:
    """Whether all of these colours are on one of the given axes."""
    return any(labels is other for other in kept) or any(bool(np.isin(labels, other).all()) for other in kept)


def shape_of_call(operator: Operator, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator on meta tensors, or on zeros where it does not run on those."""
    result = operator.blank(*args, **kwargs) if operator.blank else NotImplemented
    if result is not NotImplemented:
        return result
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:  # a NotImplementedError is one
        missing = isinstance(error, NotImplementedError) or "fake impl" in str(error)
        if not missing or operator.mutable or not _UNKNOWN_SHAPES.isdisjoint(func.tags):
            raise
        return on_zeros(func, args, kwargs)


def tensors_of(*containers: Iterable[Any]) -> Tensors:
    """All tensors in argument lists and dicts, nested ones included, in order."""
    found: list[Tensor] = []
    for container in containers:
        for value in container.values() if isinstance(container, dict) else container:
            if isinstance(value, Tensor):
                found.append(value)
            elif (
                isinstance(value, (list, tuple)) and value and type(value[0]) is not int
            ):  # sizes and strides hold none
                found.extend(tensors_of(value))
    return tuple(found)


def with_other(value: Any, old: Tensor, new: Tensor) -> Any:
    """The same nest of arguments with another tensor in place of one."""
    if isinstance(value, Tensor):
        return new if value is old else value
    if isinstance(value, dict):
        return {key: with_other(one, old, new) for key, one in value.items()}
    return type(value)(with_other(one, old, new) for one in value) if type(value) in (list, tuple) else value


@lru_cache(maxsize=4096)
def _is_users(code: CodeType) -> bool:
    return not code.co_filename.startswith(NOT_USERS)


def _users_line() -> Where:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _is_users(frame.f_code):
        frame = frame.f_back
    return Where(frame.f_code.co_filename, frame.f_lineno) if frame else Where("", 0)
