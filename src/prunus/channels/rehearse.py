"""Rehearsal: paint the compact module with the colours of the dense one, and see that every operator gives exactly the slots that should be left.

This proves, without computing a single activation, that the module's own forward routes the kept channels as the dense one did. Where the forward
hard-codes sizes it fails at the very operator that carries the literal; the module's integer attributes are then rebound, if that proves right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import TraceError
from .graph import ChannelGraph
from .layers import Labels, Layer, Record, zeros_like
from .paint import Painter
from .rules import RULES, fallback
from .surgery import Rebind, Surgery
from .trace import run, to_meta
from .twin import meta_twin, named_tensors

_SCALAR_OPERATORS = frozenset({"add", "sub", "rsub", "mul", "div", "pow", "clamp", "clamp_min", "clamp_max", "remainder", "floor_divide"})


class MismatchError(Exception):
    """The rehearsed module left the score at this record."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


@dataclass
class Rehearsal(Painter):  # type: ignore[no-untyped-call]
    """A painter whose colours are the components of the dense model, compared operator by operator with what should be left of it."""

    graph: ChannelGraph = field(kw_only=True)
    removed: NDArray[np.bool_] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.next_colour = len(self.graph.component_of_colour)
        self._first_wild = self.next_colour

    def couple(self, first: Labels, second: Labels) -> None:
        """Nothing: the couplings are known."""

    def pin(self, labels: Labels, reason: str, operator: str) -> None:
        """Nothing: the pins are known."""

    def inexact(self, labels: Labels, reason: str, operator: str) -> None:
        """Nothing: the notes are known."""

    def left(self, labels: Labels) -> Labels:
        """Components of the slots that should be left of a dense axis."""
        channels = self.graph.channel_of_colour[labels]
        keep = (channels < 0) | ~self.removed[channels] if len(self.removed) else np.ones(len(labels), dtype=bool)
        return self.graph.component_of_colour[labels[keep]]

    def on_record(self) -> None:
        """Compare the newest record with its dense counterpart."""
        index = len(self.records) - 1
        if index >= len(self.graph.records):
            raise MismatchError(index, "more operators than before")
        mine, dense = self.records[index], self.graph.records[index]
        if mine.operator != dense.operator:
            raise MismatchError(index, f"{mine.operator} instead of {dense.operator}")
        if mine.operator.rstrip("_") in _SCALAR_OPERATORS and _scalars(mine) != _scalars(dense):
            raise MismatchError(index, f"a number in {mine.operator} depends on a size")
        for position, (tensor, paint) in enumerate(zip(dense.outputs, dense.paints)):
            wanted = {x.axis: x.labels for x in paint} if _single(paint) else None
            self._compare(index, mine.outputs[position], tensor, wanted)
            self._compare_values(index, mine.values[position], dense.values[position], wanted or {})

    def _compare(self, index: int, mine: Tensor, dense: Tensor, wanted: dict[int, Labels] | None) -> None:
        if wanted is None:
            return
        left = {axis: self.left(labels) for axis, labels in wanted.items()}
        shape = tuple(len(left[a]) if a in left else n for a, n in enumerate(dense.shape))
        if tuple(mine.shape) != shape:
            raise MismatchError(index, f"shape {tuple(mine.shape)} instead of {shape}")
        have = {layer.axis: layer.labels for layer in self.paint_of(mine)}
        adopted = []
        for axis, labels in left.items():
            if len(labels) > 1:
                got = have.get(axis)
                # joined axes of length one carry no paint, so that nothing can be compared
                unseen = got is None and (self.records[index].operator == "cat" or (labels == labels[0]).all())
                same = unseen if got is None else ((got == labels) | (got >= self._first_wild)).all()
                if not same:
                    raise MismatchError(index, f"other channels than expected along axis {axis}")
                adopted.append(Layer(axis, labels, zeros_like(labels)))
        self.set_paint(mine, tuple(adopted))

    def _compare_values(self, index: int, mine: Tensor | None, dense: Tensor | None, wanted: dict[int, Labels]) -> None:
        """Constants must be what is left of the dense ones: a number made of a width is not."""
        if mine is None or dense is None:
            return
        for axis, labels in wanted.items():
            channels = self.graph.channel_of_colour[labels]
            if len(self.removed):
                dense = dense.index_select(axis, torch.from_numpy(np.flatnonzero((channels < 0) | ~self.removed[channels])))
        if mine.shape == dense.shape and not torch.equal(mine, dense):
            raise MismatchError(index, "a constant depends on a size")


def _single(paint: tuple[Layer, ...]) -> bool:
    return len({layer.axis for layer in paint}) == len(paint)


def _scalars(record: Record) -> list[Any]:
    return [a for a in (*record.args, *record.kwargs.values()) if isinstance(a, (int, float)) and not isinstance(a, bool)]


def rehearse(graph: ChannelGraph, removed: NDArray[np.bool_], surgery: Surgery) -> MismatchError | None:
    """None if the operated twin computes with exactly the channels that should be left; else where it first does not."""
    tensors = named_tensors(graph.model)
    shapes = {name: [len(axes[a]) if a in axes else n for a, n in enumerate(tensors[name].shape)] for name, axes in surgery.slices.items()}
    twin = meta_twin(graph.model, shapes)
    for rebind in surgery.rebinds:
        setattr(twin.get_submodule(rebind.module), rebind.name, rebind.value)
    painter = Rehearsal(RULES, fallback, graph=graph, removed=removed)
    tensors = named_tensors(twin)
    for source in graph.sources:
        tensor = tensors[source.name]
        layers = tuple(Layer(a, painter.left(source.colours(a)), zeros_like(painter.left(source.colours(a)))) for a in range(tensor.dim()))
        painter.set_paint(tensor, layers)
        painter.fix(tensor)
    args, kwargs = graph.inputs
    try:
        run(painter, twin, to_meta(args), to_meta(kwargs))
    except TraceError as error:
        cause = error.__cause__
        return cause if isinstance(cause, MismatchError) else MismatchError(len(painter.records), str(cause or error))
    if len(painter.records) < len(graph.records):
        return MismatchError(len(painter.records), "fewer operators than before")
    return None


def fit_attributes(graph: ChannelGraph, removed: NDArray[np.bool_], surgery: Surgery, most: int) -> tuple[Surgery, MismatchError | None]:
    """Rebind integer attributes until the rehearsal succeeds, in `most` attempts; the best surgery found, and what still fails."""
    failure = rehearse(graph, removed, surgery)
    attempts = 0
    while failure is not None and failure.index < len(graph.records):
        for candidate in _candidates(graph, removed, surgery, failure.index):
            attempts += 1
            outcome = rehearse(graph, removed, candidate)
            if outcome is None or outcome.index > failure.index:
                surgery, failure = candidate, outcome
                break
            if attempts >= most:
                return surgery, failure
        else:
            return surgery, failure
    return surgery, failure


def _candidates(graph: ChannelGraph, removed: NDArray[np.bool_], surgery: Surgery, index: int) -> Iterator[Surgery]:
    """Surgeries in which attributes of the failing operator's module, or of one around it, follow the sizes that changed there.

    All fitting attributes of one module are tried together first, then each one alone. Several attributes of the same value stand for the lengths
    of that value in order, or all for the first.
    """
    record = graph.records[index]
    changes = _changes(graph, removed, index)
    for depth, path in enumerate(_enclosing(record.module)):
        sizes = {name: value for name, value in vars(graph.twin.get_submodule(path)).items() if _is_size(value)}
        equal = {name: value for name, value in sizes.items() if _stands_for(value, changes)}
        for chosen, in_order in ((equal, True), (equal, False), (sizes, True)):
            names = list(_followed(chosen, changes, in_order))
            if names:
                yield _with_attributes(graph, removed, surgery, record, depth, names, in_order)
        for name in _followed(sizes, changes, False):
            yield _with_attributes(graph, removed, surgery, record, depth, [name], False)


def _with_attributes(
    graph: ChannelGraph, removed: NDArray[np.bool_], surgery: Surgery, record: Record, depth: int, names: Sequence[str], in_order: bool
) -> Surgery:
    """Rebind attributes in every module of the same class that reaches the same line, each by its own sizes."""
    rebinds = {(r.module, r.name): r for r in surgery.rebinds}
    kind = type(graph.twin.get_submodule(_enclosing(record.module)[depth]))
    for index, other in enumerate(graph.records):
        around = _enclosing(other.module)
        if other.where == record.where and other.operator == record.operator and depth < len(around):
            owner = graph.twin.get_submodule(around[depth])
            if type(owner) is kind:
                sizes = {name: vars(owner)[name] for name in names if _is_size(vars(owner).get(name))}
                for name, value in _followed(sizes, _changes(graph, removed, index), in_order).items():
                    rebinds[around[depth], name] = Rebind(around[depth], name, value)
    return Surgery(surgery.slices, tuple(rebinds.values()))


def _followed(sizes: dict[str, Any], changes: Sequence[tuple[int, int]], in_order: bool) -> dict[str, Any]:
    """New values of the attributes that change."""
    pool = list(dict.fromkeys(changes))
    result = {}
    for name, value in sizes.items():
        new = _rebound(value, pool if isinstance(value, int) else changes)
        hit = next((c for c in pool if c == (value, new)), None) if isinstance(value, int) else None
        if in_order and hit and sum(c[0] == value for c in pool) > 1:
            pool.remove(hit)
        if new != value:
            result[name] = new
    return result


def _enclosing(path: str) -> list[str]:
    """A module's path and those around it, innermost first."""
    parts = path.split(".") if path else []
    return [".".join(parts[:n]) for n in range(len(parts), -1, -1)]


def _is_size(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_size(v) for v in value) and not isinstance(value[0], (list, tuple))
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _changes(graph: ChannelGraph, removed: NDArray[np.bool_], index: int) -> list[tuple[int, int]]:
    """(before, after) of every painted axis length around an operator, outputs first.

    A reshape that copies is two records, clone and view, and fails before the first: the one after it, on the same line, counts too.
    """
    record = graph.records[index]
    pairs: list[tuple[int, int]] = []
    for tensor, paint in [*zip(record.outputs, record.paints), *zip(record.tensors, record.inputs)]:
        after = graph.kept_shape(tensor.shape, paint, removed)
        pairs.extend((int(tensor.shape[layer.axis]), after[layer.axis]) for layer in paint)
    if record.operator == "constant_pad_nd":
        pairs = [*_pad_changes(graph, removed, record), *pairs]
    following = index + 1
    if record.operator == "clone" and following < len(graph.records) and graph.records[following].where == record.where:
        pairs += _changes(graph, removed, following)
    return pairs


def _pad_changes(graph: ChannelGraph, removed: NDArray[np.bool_], record: Record) -> Iterator[tuple[int, int]]:
    x, pads = record.tensors[0], list(record.args[1])
    for layer in record.paints[0]:
        position = 2 * (x.dim() - 1 - layer.axis)
        if position + 1 < len(pads):
            before, after = pads[position], pads[position + 1]
            left = graph.kept_shape((before, after), _pad_layers(layer, before, after), removed)
            yield from zip((before, after), left)


def _pad_layers(layer: Layer, before: int, after: int) -> tuple[Layer, ...]:
    """The padded slots in front as layer 0, those behind as layer 1."""
    count = len(layer.labels)
    return tuple(
        Layer(axis, layer.labels[part], layer.dead[part])
        for axis, part in ((0, slice(0, max(0, before))), (1, slice(count - max(0, after), count)))
        if part.stop > part.start
    )


def _stands_for(value: Any, changes: Sequence[tuple[int, int]]) -> bool:
    """Whether an attribute is one of the lengths, or a list of some, and not only a multiple or part of one."""
    lengths = {old for old, _ in changes}
    return value in lengths if isinstance(value, int) else any(v in lengths for v in value)


def _rebound(value: Any, changes: Sequence[tuple[int, int]]) -> Any:
    """What an attribute becomes if it stands for one of the lengths that changed, or a whole multiple or part of one."""
    if isinstance(value, (list, tuple)):
        # a list of sizes belongs to one split: its entries are the first lengths that changed, in order
        pool = list(changes)
        result = []
        for item in value:
            hit = next((p for p in pool if p[0] == item), None)
            if hit:
                pool.remove(hit)
            result.append(hit[1] if hit else item)
        return type(value)(result)
    for old, new in changes:
        if value == old:
            return new
    for old, new in changes:
        factor = math.gcd(value, old)
        if factor == old and value // old <= 4:
            return new * (value // old)
        if factor == value and old // value <= 4 and new % (old // value) == 0:
            return new // (old // value)
    return value


__all__ = ["MismatchError", "fit_attributes", "rehearse"]
