"""Rehearsal: paint the compact module with the colours of the dense one, and see that every operator gives
exactly the slots that should be left.

This proves, without computing a single activation, that the module's own forward routes the kept channels as
the dense one did. Where the forward hard-codes sizes it fails at the very operator that carries the literal.

Most operators need no paint for that: one that reads the results of the same operators as before, with the
same arguments, and whose arguments name no slots (a convolution, a sum; not a slice), computes what is left
of the old result. Only the others are painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus.errors import TraceError
from prunus.paint.call import Tensors, made_by, tensors_of
from prunus.paint.finite import holds_if_finite
from prunus.paint.forward import run, tell_numbers
from prunus.paint.graph import ChannelGraph, Origin
from prunus.paint.inputs import tensors_in, to_meta
from prunus.paint.model_copy import meta_twin, named_tensors, tensors_in_modules
from prunus.paint.painter import Painter, shape_of_call
from prunus.paint.records import Centre, Labels, Paint, Record, Stripe, zeros_like
from prunus.paint.rules import (
    contraction,
    is_pointwise,
    normalisation,
    order,
    reduction,
    spatial,
    windows,
)
from prunus.paint.source import Source, colours_of
from prunus.paint.state import restore_state
from prunus.surgery.again import indices_now, inputs_now, returned_otherwise, said_otherwise
from prunus.surgery.alike import numbers, same_arguments, same_options, single, untouched
from prunus.surgery.indices import OPERATORS
from prunus.surgery.rescaling import rescales_for
from prunus.surgery.slicing import Surgery, changed, rebind_attributes

# Operators whose arguments name axes, strides and numbers, but no slots along an axis.
_RULED = (contraction, normalisation, reduction, order, spatial, windows)
_MOVING = tuple("permute transpose t cat stack clone detach alias _to_copy contiguous dropout".split())
_SLOTLESS = frozenset({*_MOVING, *(name for rules in _RULED for name in rules.RULES)})
# Arguments that the shapes of operands and results leave no choice: groups, normalized_shape, channels.
_IMPLIED = {"convolution": {8}, "native_layer_norm": {1}, "_fused_rms_norm": {1}, "native_group_norm": {4, 6}}


class MismatchError(Exception):
    """The rehearsed module left the score at this record."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index
        self.ran = False  # to the end: only numbers are others
        self.unseen = False  # a statistic whose width the module's own class cannot keep
        self.graph: ChannelGraph | None = None  # whose operators the index counts


@dataclass(repr=False)
class Rehearsal(Painter):  # type: ignore[no-untyped-call]
    """A painter whose colours are the components of the dense model, compared operator by operator with what
    should be left of it.
    """

    graph: ChannelGraph = field(kw_only=True)
    removed: NDArray[np.bool_] = field(kw_only=True)
    numbers: dict[int, float] = field(default_factory=dict)
    # constants whose values differ, as those of an index may, by `id`; what single numbers must be multiplied
    # by, None for all others
    others: dict[int, float | None] = field(default_factory=dict)
    origins: dict[int, Origin] = field(default_factory=dict)
    _sources: dict[int, Source] = field(default_factory=dict)
    _unpainted: dict[int, Paint] = field(default_factory=dict)
    _left: dict[int, tuple[Labels, Labels]] = field(default_factory=dict)
    _alive: list[Tensors] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.next_colour = len(self.graph.component_of_colour)
        # a component is known by its smallest colour, and parameters have the first ones
        self.owned = colours_of(self.graph.sources)
        self._first_wild = self.next_colour
        self._stays = self.graph.stays(slice(None), self.removed)

    def add_sources(self, tensors: dict[str, Tensor]) -> None:
        """Parameters and buffers of the rehearsed module, by name."""
        for position, source in enumerate(self.graph.sources):
            tensor = tensors[source.name]
            self.origins[id(tensor)] = (-1, position)
            self._sources[id(tensor)] = source
            self._fixed.add(id(tensor))

    def paint_of(self, tensor: Tensor) -> Paint:
        """What is left of the dense paint, worked out only where a rule asks for it."""
        source = self._sources.pop(id(tensor), None)
        if source is not None:
            colours = [source.colours(axis) for axis in range(tensor.dim())]
            self._unpainted[id(tensor)] = tuple(
                Stripe(axis, labels, zeros_like(labels)) for axis, labels in enumerate(colours)
            )
        dense = self._unpainted.pop(id(tensor), None)
        if dense is not None:
            self.set_paint(
                tensor,
                tuple(Stripe(y.axis, self.left(y.labels), zeros_like(self.left(y.labels))) for y in dense),
            )
        return super().paint_of(tensor)

    def set_paint(self, tensor: Tensor, paint: Paint) -> None:
        """Paint of its own takes the place of what would be left of the dense one."""
        self._sources.pop(id(tensor), None)
        self._unpainted.pop(id(tensor), None)
        super().set_paint(tensor, paint)

    def couple(self, first: Labels, second: Labels) -> None:
        """Nothing: the couplings are known."""

    def pin(self, labels: Labels, reason: str, operator: str) -> None:
        """Nothing: the pins are known."""

    def inexact(self, labels: Labels, reason: str, operator: str) -> None:
        """Nothing: the notes are known."""

    def averaged(self, stripe: Stripe, reason: str, operator: str, centre: Centre | None = None) -> None:
        """Nothing: the statistics are known."""

    def hazard(self, tensor: Tensor, labels: Labels, operator: str) -> None:
        """Nothing: what must not be zero is known."""

    def condition(self, tensor: Tensor) -> bool | None:
        """As in the dense model."""
        index, position = self.origins.get(id(tensor), (-1, 0))
        records = self.graph.records
        return holds_if_finite(records, records[index].outputs[position]) if index >= 0 else None

    @property
    def history(self) -> Sequence[Record]:
        """As in the dense model."""
        return self.graph.records[: len(self.records)]

    def recorded(self, tensor: Tensor) -> Tensor:
        """The one of the dense model."""
        index, position = self.origins.get(id(tensor), (-1, -1))
        if index < 0:
            return self.graph.sources[position].tensor if position >= 0 else tensor
        return self.graph.records[index].outputs[position]

    def left(self, labels: Labels) -> Labels:
        """Components of the slots that should be left of a dense axis."""
        found = self._left.get(id(labels))
        if found is None:
            self._left[id(labels)] = found = (
                labels,
                self.graph.component_of_colour[labels[self._stays[labels]]],
            )
        return found[1]

    # -- the short way ---------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Follow the dense record if this is plainly the same operator on what is left; else paint and
        compare.
        """
        index, kwargs = len(self.records), kwargs or {}
        if index < len(self.graph.records):
            dense = self.graph.records[index]
            if dense.func is func and self._reads_what_is_left(index, dense, args, kwargs):
                result = shape_of_call(self.look_up(func), func, args, kwargs)
                outputs = made_by(result)
                if all(map(self._has_left, outputs, dense.outputs, dense.paints)):
                    self._follow(index, dense, outputs)
                    return result
        return super().__torch_dispatch__(func, types, args, kwargs)

    def _follow(self, index: int, dense: Record, outputs: Tensors) -> None:
        self.records.append(dense)
        self._alive.append(outputs)
        for position, (tensor, paint) in enumerate(zip(outputs, dense.paints)):
            self.origins[id(tensor)] = (index, position)
            self._unpainted[id(tensor)] = paint
            self._fixed.discard(id(tensor))

    def _reads_what_is_left(self, index: int, dense: Record, args: Any, kwargs: dict[str, Any]) -> bool:
        """Whether operands come from where they came from, at least one of them from the inputs, and nothing
        else tells the two calls apart.
        """
        if not same_arguments(args, dense.args, _IMPLIED.get(dense.operator, ())) or (
            kwargs and not same_options(kwargs, dense.kwargs)
        ):
            return False
        tensors = tensors_of(args, kwargs)
        if dense.operator == "index" and any(t.dtype == torch.bool for t in tensors):
            return False  # how much a mask picks, its values say
        computed = False
        for tensor, origin in zip(tensors, self.graph.wiring[index], strict=True):
            if (
                origin is None
                or self.origins.get(id(tensor)) != origin
                or not tensor.is_meta
                or id(tensor) in self.others
            ):
                return False
            computed = computed or id(tensor) not in self._fixed
        if not computed or (dense.operator.endswith("_") and id(tensors[0]) in self._fixed):
            return False
        return (
            dense.operator in _SLOTLESS
            or is_pointwise(dense.func, dense.operator)
            or untouched(tensors, dense.tensors)
        )

    def _has_left(self, mine: Tensor, dense: Tensor, paint: Paint) -> bool:
        """Whether a tensor has the shape that should be left of the dense one."""
        if not paint:
            return mine.shape == dense.shape
        shape = list(dense.shape)
        for stripe in paint:
            shape[stripe.axis] = len(self.left(stripe.labels))
        return list(mine.shape) == shape and single(paint)

    # -- the long way ----------------------------------------------------------------------------------------

    def on_record(self) -> None:
        """Compare the newest record with its dense counterpart."""
        try:
            self._compare_record()
        except MismatchError as error:
            self.failure = self.failure or error
            raise

    def _compare_record(self) -> None:
        index = len(self.records) - 1
        if index >= len(self.graph.records):
            raise MismatchError(index, "more operators than before")
        mine, dense = self.records[index], self.graph.records[index]
        if mine.operator != dense.operator:
            raise MismatchError(index, f"{mine.operator} instead of {dense.operator}")
        for tensor, origin in zip(mine.tensors, self.graph.wiring[index]):
            if origin is not None and self.origins.get(id(tensor), origin) != origin:
                raise MismatchError(index, f"{mine.operator} reads another tensor")
        if self.others:
            self._note_others(index, mine)
        if mine.tensors and numbers(mine) != numbers(dense):
            self._note_number(index, mine, dense)
        for position, (tensor, paint) in enumerate(zip(dense.outputs, dense.paints)):
            wanted = {x.axis: x.labels for x in paint} if single(paint) else None
            self._compare(index, mine.outputs[position], tensor, wanted)
            self._compare_values(
                index, mine.outputs[position], mine.values[position], dense.values[position], wanted or {}
            )
            self.origins[id(mine.outputs[position])] = (index, position)

    def _note_number(self, index: int, mine: Record, dense: Record) -> None:
        """A factor that depends on a size may be made up for; any other number may not."""
        before, after = numbers(dense), numbers(mine)
        if (
            mine.operator.rstrip("_") not in ("mul", "div")
            or len(mine.tensors) != 1
            or len(before) != 1
            or len(after) != 1
            or after == [0]
        ):
            raise MismatchError(index, f"a number in {mine.operator} depends on a size")
        self.numbers[index] = (
            before[0] / after[0] if mine.operator.startswith("mul") else after[0] / before[0]
        )

    def _note_others(self, index: int, mine: Record) -> None:
        """A constant with other values than before may name slots, or be a factor that is made up for; any
        other result of it must be a constant.
        """
        other = [id(t) in self.others for t in mine.tensors]
        if not any(other) or mine.operator in OPERATORS or None not in mine.values:
            return
        ratio = self.others[id(mine.tensors[-1])] if other[-1] else None
        if mine.operator not in ("mul", "div") or other != [False, True] or not ratio:
            raise MismatchError(index, "a constant depends on a size")
        self.numbers[index] = ratio if mine.operator == "mul" else 1 / ratio

    def _compare(self, index: int, mine: Tensor, dense: Tensor, wanted: dict[int, Labels] | None) -> None:
        if wanted is None:
            return
        left = {axis: self.left(labels) for axis, labels in wanted.items()}
        shape = tuple(len(left[a]) if a in left else n for a, n in enumerate(dense.shape))
        if tuple(mine.shape) != shape:
            raise MismatchError(index, f"shape {tuple(mine.shape)} instead of {shape}")
        have = {stripe.axis: stripe.labels for stripe in self.paint_of(mine)}
        adopted = []
        for axis, labels in left.items():
            if len(labels) > 1:
                if not self._as_wanted(have.get(axis), labels, self.records[index].operator):
                    raise MismatchError(index, f"other channels than expected along axis {axis}")
                adopted.append(Stripe(axis, labels, zeros_like(labels)))
        self.set_paint(mine, tuple(adopted))

    def _as_wanted(self, got: Labels | None, wanted: Labels, operator: str) -> bool:
        """Whether an axis has the slots that it should have, as far as it shows them."""
        if got is not None and ((got == wanted) | (got >= self._first_wild)).all():
            return True
        if got is None and operator == "cat":  # joined axes of length one carry no paint
            return True
        # Slots of one component cannot be told apart, and leave the axis to copies that it shares it with.
        return bool((wanted == wanted[0]).all()) and (got is None or bool(got.min() >= self.owned))

    def _compare_values(
        self, index: int, output: Tensor, mine: Tensor | None, dense: Tensor | None, wanted: dict[int, Labels]
    ) -> None:
        """Constants must be what is left of the dense ones: one made of a width is not, but it may be an
        index or a factor.
        """
        if mine is None or dense is None:
            return
        for axis, labels in wanted.items():
            dense = dense.index_select(axis, torch.from_numpy(np.flatnonzero(self._stays[labels])))
        if mine.shape == dense.shape and not torch.equal(mine, dense):
            single = (
                mine.numel() == 1
                and mine.is_floating_point()
                and bool(mine.isfinite().all())
                and bool((mine != 0).all())
            )
            if not single and (mine.is_floating_point() or mine.is_complex() or mine.dtype == torch.bool):
                raise MismatchError(index, "a constant depends on a size")
            self.others[id(output)] = float(dense) / float(mine) if single else None

    def _twin(self, tensor: Tensor) -> Tensor:
        twin = super()._twin(tensor)
        if id(tensor) in self.others:
            self.others[id(twin)] = self.others[id(tensor)]
        return twin


def rehearse(
    graph: ChannelGraph, removed: NDArray[np.bool_], surgery: Surgery
) -> tuple[Surgery, MismatchError | None]:
    """Whether the operated twin computes with exactly the channels that should be left, else where it first
    does not.

    The surgery comes back with what makes up for numbers that depend on a size.
    """
    painter, outputs, failure = _run_again(graph, removed, surgery)
    if failure is not None:
        return surgery, failure
    rescales, helpless = rescales_for(graph, painter.numbers) if painter.numbers else ((), None)
    if helpless is not None:
        failure = MismatchError(helpless, f"a number in {graph.records[helpless].operator} depends on a size")
    elif (other := returned_otherwise(graph, list(tensors_in(outputs)), painter.origins)) is not None:
        failure = MismatchError(other, "something else is returned")
    elif removed.any() and said_otherwise(graph, outputs, lambda: _said_by_the_dense(graph)):
        failure = MismatchError(len(graph.records) - 1, "a number that is returned depends on a size")
    if failure is not None:
        failure.ran = True
    return replace(surgery, rescales=rescales), failure


def _said_by_the_dense(graph: ChannelGraph) -> Any:
    return _run_again(graph, np.zeros(graph.num_channels, dtype=bool), Surgery({}))[1]


def _run_again(
    graph: ChannelGraph, removed: NDArray[np.bool_], surgery: Surgery
) -> tuple[Rehearsal, Any, MismatchError | None]:
    """The painter of a rehearsal, what the forward returned, and where it left the score."""
    dense = {source.name: source.tensor.shape for source in graph.sources}
    shapes = {
        name: [len(axes[a]) if a in axes else n for a, n in enumerate(dense[name])]
        for name, axes in surgery.slices.items()
    }
    values = indices_now(graph, surgery)
    now = named_tensors(graph.model)
    shapes |= {name: list(dense[name]) for name in graph.remade(now)}
    twin = meta_twin(graph.model, shapes, values, graph.twin.training, now)
    restore_state(twin.modules, graph.state)
    rebind_attributes(twin.modules, surgery.rebinds)
    painter, outputs = Rehearsal(graph=graph, removed=removed), None
    tensors = tensors_in_modules(twin.modules)
    painter.add_sources(tensors)
    tell_numbers(painter, {**graph.twin.numbers, **changed(graph.twin.numbers, surgery.slices, ())}, tensors)
    painter.others = {id(one): None for one in values.values() if one.dtype != torch.bool}
    args, kwargs = inputs_now(graph)
    try:
        outputs = run(painter, twin, to_meta(args), to_meta(kwargs), None if graph.watched else nullcontext())
    except TraceError as error:
        cause = error.__cause__
        failure = cause if isinstance(cause, MismatchError) else None
        return painter, None, failure or MismatchError(len(painter.records), str(cause or error))
    if len(painter.records) < len(graph.records):
        return painter, outputs, MismatchError(len(painter.records), "fewer operators than before")
    return painter, outputs, None
