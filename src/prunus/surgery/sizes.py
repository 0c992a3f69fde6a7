"""Where a forward hard-codes sizes: rebind the module's integer attributes until the rehearsal succeeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.paint.graph import ChannelGraph
from prunus.paint.records import Record, Stripe
from prunus.surgery.places import is_size, size_at, sizes_of
from prunus.surgery.rehearsal import MismatchError, rehearse
from prunus.surgery.slicing import Rebind, Surgery


def fit_attributes(
    graph: ChannelGraph, removed: NDArray[np.bool_], surgery: Surgery, most: int
) -> tuple[Surgery, MismatchError | None]:
    """Rebind integer attributes until the rehearsal succeeds, in `most` attempts; the best surgery found, and
    what still fails.
    """
    surgery, failure = _fitted(graph, removed, surgery, most)
    if failure is not None:
        failure.graph = graph
    return surgery, failure


def _fitted(
    graph: ChannelGraph, removed: NDArray[np.bool_], surgery: Surgery, most: int
) -> tuple[Surgery, MismatchError | None]:
    surgery, failure = rehearse(graph, removed, surgery)
    attempts = 0
    while failure is not None and failure.index < len(graph.records):
        for candidate in _candidates(graph, removed, surgery, failure.index):
            attempts += 1
            candidate, outcome = rehearse(graph, removed, candidate)
            if outcome is None or (outcome.ran, outcome.index) > (failure.ran, failure.index):
                surgery, failure = candidate, outcome
                break
            if attempts >= most:
                return surgery, failure
        else:
            return surgery, failure
    return surgery, failure


def _candidates(
    graph: ChannelGraph, removed: NDArray[np.bool_], surgery: Surgery, index: int
) -> Iterator[Surgery]:
    """Surgeries in which attributes of the failing operator's module, or of one around it, follow the sizes
    that changed there.

    All fitting attributes of one module are tried together first, then each one alone. Several attributes of
    the same value stand for the lengths of that value in order, or all for the first.
    """
    record = graph.records[index]
    changes = _changes(graph, removed, index)
    for depth, path in enumerate(_enclosing(record.module)):
        sizes = sizes_of(graph.twin.modules[path])
        equal = {name: value for name, value in sizes.items() if _stands_for(value, changes)}
        for chosen, in_order in ((equal, True), (equal, False), (sizes, True)):
            names = list(_followed(chosen, changes, in_order))
            if names:
                yield _with_attributes(graph, removed, surgery, record, depth, names, in_order)
        for name in _followed(sizes, changes, False):
            yield _with_attributes(graph, removed, surgery, record, depth, [name], False)
    yield from _of_children(graph, surgery, record.module, changes)


def _of_children(
    graph: ChannelGraph, surgery: Surgery, path: str, changes: Sequence[tuple[int, int]]
) -> Iterator[Surgery]:
    """Surgeries in which a size that a child says, and its parent asks it for, follows:
    `self.update.hidden_size` in a parent's forward.
    """
    rebinds = {(r.module, r.name): r for r in surgery.rebinds}
    prefix = f"{path}." if path else ""
    for name in graph.twin.modules[path]._modules:
        child = graph.twin.modules.get(prefix + name)
        sizes = (
            {key: value for key, value in sizes_of(child).items() if _stands_for(value, changes)}
            if child is not None
            else {}
        )
        new = {
            (prefix + name, key): Rebind(prefix + name, key, value)
            for key, value in _followed(sizes, changes, False).items()
        }
        if not new.keys() <= rebinds.keys():
            yield Surgery(surgery.slices, tuple((new | rebinds).values()), remaps=surgery.remaps)


def _with_attributes(
    graph: ChannelGraph,
    removed: NDArray[np.bool_],
    surgery: Surgery,
    record: Record,
    depth: int,
    names: Sequence[str],
    in_order: bool,
) -> Surgery:
    """Rebind attributes in every module of the same class that reaches the same line,
    each by its own sizes.
    """
    rebinds = {(r.module, r.name): r for r in surgery.rebinds}
    kind = type(graph.twin.modules[_enclosing(record.module)[depth]])
    for index, other in enumerate(graph.records):
        around = _enclosing(other.module)
        if other.where == record.where and other.operator == record.operator and depth < len(around):
            owner = graph.twin.modules[around[depth]]
            if type(owner) is kind:
                sizes = {name: value for name in names if is_size(value := size_at(owner, name))}
                for name, value in _followed(sizes, _changes(graph, removed, index), in_order).items():
                    rebinds[around[depth], name] = Rebind(around[depth], name, value)
    return Surgery(surgery.slices, tuple(rebinds.values()), remaps=surgery.remaps)


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


def _changes(graph: ChannelGraph, removed: NDArray[np.bool_], index: int) -> list[tuple[int, int]]:
    """(before, after) of every painted axis length around an operator, outputs first.

    A reshape that copies is two records, clone and view, and fails before the first: the one after it, on the
    same line, counts too. So do those that read a constant that was made here, such as zeros for the planes
    that a shortcut lacks: these are "planes minus what is there".
    """
    record = graph.records[index]
    pairs: list[tuple[int, int]] = []
    for tensor, paint in [*zip(record.outputs, record.paints), *zip(record.tensors, record.inputs)]:
        after = graph.kept_shape(tensor.shape, paint, removed)
        pairs.extend((int(tensor.shape[stripe.axis]), after[stripe.axis]) for stripe in paint)
    if record.operator == "constant_pad_nd":
        pairs = [*_pad_changes(graph, removed, record), *pairs]
    following = index + 1
    if (
        record.operator == "clone"
        and following < len(graph.records)
        and graph.records[following].where == record.where
    ):
        pairs += _changes(graph, removed, following)
    if not record.tensors:
        pairs += [pair for reader in _readers(graph, index) for pair in _changes(graph, removed, reader)]
    return pairs


_PASSING_ON = frozenset({"detach", "alias", "clone", "_to_copy", "expand"})


def _readers(graph: ChannelGraph, index: int) -> Iterator[int]:
    """The operators that read what one makes, behind those that only pass it on."""
    for reader, origins in enumerate(graph.wiring):
        if any(origin is not None and origin[0] == index for origin in origins):
            yield reader
            if graph.records[reader].operator in _PASSING_ON:
                yield from _readers(graph, reader)


def _pad_changes(
    graph: ChannelGraph, removed: NDArray[np.bool_], record: Record
) -> Iterator[tuple[int, int]]:
    x, pads = record.tensors[0], list(record.args[1])
    for stripe in record.paints[0]:
        position = 2 * (x.dim() - 1 - stripe.axis)
        if position + 1 < len(pads):
            before, after = pads[position], pads[position + 1]
            left = graph.kept_shape((before, after), _pad_stripes(stripe, before, after), removed)
            yield from zip((before, after), left)


def _pad_stripes(stripe: Stripe, before: int, after: int) -> tuple[Stripe, ...]:
    """The padded slots in front as stripe 0, those behind as stripe 1."""
    count = len(stripe.labels)
    return tuple(
        Stripe(axis, stripe.labels[part], stripe.dead[part])
        for axis, part in ((0, slice(0, max(0, before))), (1, slice(count - max(0, after), count)))
        if part.stop > part.start
    )


def _stands_for(value: Any, changes: Sequence[tuple[int, int]]) -> bool:
    """Whether an attribute is one of the lengths, or a list of some, and not only a
    multiple or part of one.
    """
    lengths = {old for old, _ in changes}
    return value in lengths if isinstance(value, int) else any(v in lengths for v in value)


def _rebound(value: Any, changes: Sequence[tuple[int, int]]) -> Any:
    """What an attribute becomes if it stands for one of the lengths that changed, or a whole multiple or part
    of one.
    """
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
        if not old:  # a side that was not padded says nothing
            continue
        if factor == old and value // old <= 4:
            return new * (value // old)
        if factor == value and old // value <= 4 and new % (old // value) == 0:
            return new // (old // value)
    return value
