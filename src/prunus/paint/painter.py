"""Painting: run a model once on meta tensors and let every tensor carry the colours of its channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import TorchDispatchMode

from prunus.errors import TraceError
from prunus.paint.call import Call, Rule, Tensors, made_by, tensors_of, with_other
from prunus.paint.canvas import Canvas
from prunus.paint.expansions import EXPANSIONS
from prunus.paint.fetching import fetch
from prunus.paint.finite import holds_if_finite
from prunus.paint.memory import may_overlap
from prunus.paint.meta_kernels import BLANKS, Blank, like, on_zeros
from prunus.paint.picks import Pick, follow_picks, picked, settle
from prunus.paint.records import Mark, Paint, Record, Stripe, constant, same_dead, unknown_like
from prunus.paint.reliance import is_among, kept_of, makers_of
from prunus.paint.rules import RULES, fallback

_CREATION = frozenset(
    "zeros ones full empty arange linspace eye scalar_tensor tril_indices triu_indices".split()
)
_DRAWN = frozenset({"rand", "randn", "randint", "randperm", "normal"})  # unless they are given tensors
_UNKNOWN_SHAPES = frozenset({torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output})
_EMPTY = torch.ops.aten.empty.memory_format
_SCALARS = frozenset({"_local_scalar_dense", "item", "is_nonzero"})
# elements; constants up to this size are computed for real, so that indices and `.item()` have values
LARGEST_CONSTANT = 1 << 16


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


@dataclass(repr=False)
class Painter(Canvas, TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that paints. Enter it, run the model on meta tensors, leave it, and read the couplings
    off.
    """

    _operators: dict[Any, Operator] = field(default_factory=dict)
    failure: Exception | None = None  # what a forward must not catch: that it cannot be followed
    seed: int = 0  # of the numbers that the forward draws
    drew: bool = False  # whether it drew some from Python or NumPy, which may decide what it does
    picks: dict[int, Pick] = field(default_factory=dict)  # by `id` of what stands for them
    supports_higher_order_operators = True  # so that they can be told by name

    def __post_init__(self) -> None:
        TorchDispatchMode.__init__(self)  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled while painting, and the guard against it would be paid at every operator."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return self._dispatched(func, args, kwargs or {})
        except (TraceError, NotImplementedError) as error:
            self.failure = self.failure or error
            raise

    def _dispatched(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func is _EMPTY and args[0] == [0]:  # batch norm's reserve
            return func(*args, **kwargs)
        self._place = None
        if func in EXPANSIONS:
            return EXPANSIONS[func](self, *args, **kwargs)
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
        stands = picked(self, func, args)
        if stands is None and self.picks:
            stands = follow_picks(self, operator, func, args, kwargs)
        if stands is not None:
            return stands
        fetched = fetch(self, operator, func, args, kwargs)
        if fetched is None and (on_meta or not tensors) and kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")
        before = self._as_it_was(tensors[0]) if operator.reshapes else None
        if fetched is not None:
            result: Any = fetched
        else:
            result = shape_of_call(operator, func, args, kwargs) if on_meta else func(*args, **kwargs)
        outputs = made_by(result)
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

    def follow(self, func: Any, args: Any, kwargs: dict[str, Any] | None = None) -> Any:
        """Run and paint an operator that stands for one that the forward calls."""
        return self._dispatched(func, args, kwargs or {})

    def note(self, func: Any, args: Any, output: Tensor) -> None:
        """Paint what an operator made, which has been run."""
        self._apply(self.look_up(func), func, args, {}, tensors_of(args), (output,))

    def returned(self, outputs: Iterable[Tensor]) -> None:
        """Declare what the model returns."""
        outputs = tuple(outputs)
        settle(self, outputs)
        super().returned(outputs)

    @property
    def history(self) -> Sequence[Record]:
        """What the operators so far did."""
        return self.records

    def recorded(self, tensor: Tensor) -> Tensor:
        """The tensor that stands for one in the history."""
        return tensor

    def look_up(self, func: Any) -> Operator:
        """What is known about an operator."""
        found = self._operators.get(func)
        if found is not None:
            return found
        if isinstance(func, HigherOrderOperator):
            raise TraceError(
                f"The forward calls {func} at {self.where()}, which runs functions where their"
                " operators cannot be followed; write it with Python's own statements, or tensor operators"
                " (torch.where)."
            )
        name = func._schema.name.removeprefix("aten::")
        rule = RULES.get(name) or RULES.get(name.rstrip("_"))
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

    def _propagate(self, func: Any, args: Any, kwargs: dict[str, Any], outputs: tuple[Tensor, ...]) -> None:
        """Compute a constant for real beside its meta twin, so that indices and conditions made of it have
        values.
        """
        if sum(t.numel() for t in outputs) > LARGEST_CONSTANT:
            return
        real_kwargs = {k: self._real(v) for k, v in kwargs.items()}
        if isinstance(real_kwargs.get("device"), torch.device):
            real_kwargs["device"] = torch.device("cpu")
        values = func(*(self._real(a) for a in args), **real_kwargs)
        volatile = not self._volatile.isdisjoint(map(id, tensors_of(args, kwargs)))
        for tensor, value in zip(outputs, made_by(values)):
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
                self.read(tensor)
        stale = self.paint_of(outputs[0]) if operator.mutable and not operator.reshapes and outputs else ()
        if operator.rule is None and not any(inputs):
            paints: Sequence[Paint] = ((),) * len(outputs)
        else:
            call = Call(self, operator.name, func, tuple(args), kwargs, outputs, tensors)
            paints = (operator.rule or fallback)(call)
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
            self.relied.extend(
                y.labels
                for tensor, paint in zip(call.tensors, inputs)
                for y in paint
                if not is_among(y.labels, kept_of(call, tensor, y, paints))
            )
            return
        for tensor, paint in zip(call.tensors, inputs):
            if paint and self.is_fixed(tensor):
                self.made.extend(makers_of(call, paint))

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
        for tensor in self.on_storage_of(target):
            if tensor is not target and may_overlap(tensor, target):
                self.set_paint(
                    tensor,
                    tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in self.paint_of(tensor)),
                )

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
            if result.numel() <= LARGEST_CONSTANT and operator.name != "empty":
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
        self.read(tensor)
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
        if value is not None:
            return func(value)
        held = self.condition(args[0])
        if held is None:
            raise TraceError(
                f"The forward reads the value of a tensor at {self.where()}, so what it computes depends on"
                " the data and cannot be traced; replace the condition by tensor operators (torch.where), or"
                " trace the sub-module that does not need it."
            )
        return held

    def condition(self, tensor: Tensor) -> bool | None:
        """What a condition is as long as numbers are finite, if that decides it."""
        return holds_if_finite(self.records, tensor)


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
