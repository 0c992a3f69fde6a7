"""From paint to a graph: components of the couplings become channels, channels with the same slots groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prunus.paint.canvas import Canvas
from prunus.paint.components import components
from prunus.paint.cost import AxisTable
from prunus.paint.costing import cost_model
from prunus.paint.folding import settle_leaks
from prunus.paint.graph import Axis, ChannelGraph, Group, Note
from prunus.paint.model_copy import Twin
from prunus.paint.records import ANCHOR, Labels, Mark, Where
from prunus.paint.source import UNPAINTED, Source
from prunus.paint.state import State
from prunus.paint.statistics import split_statistics
from prunus.paint.widths import Site


def build(
    model: nn.Module,
    twin: Twin,
    inputs: tuple[tuple[Any, ...], dict[str, Any]],
    canvas: Canvas,
    sources: tuple[Source, ...],
    sites: Sequence[Site] | None = None,
    state: State | None = None,
) -> ChannelGraph:
    """Components of the couplings become channels, channels with the same slots become groups."""
    parent = components(canvas.next_colour, canvas.edges, canvas.whole)
    canvas.pins.extend(made_by_none(canvas, parent, sources))
    pinned = _pinned_colours(canvas, parent, sources)
    channel_of_colour, count = _number_channels(parent, pinned, sources)
    table = AxisTable(channel_of_colour)
    kept, other = split_statistics(twin.modules, canvas.records, canvas.statistics, sites or ())
    leaks, zeroed = settle_leaks(canvas.records, twin.modules, canvas.leaks, canvas.relied)
    axes = _axes(sources, table, canvas, zeroed)
    parts = cost_model(table, canvas, sources, axes)
    group_of_channel, slots = _group(table, count)
    groups = _name_groups(group_of_channel, slots, axes)
    return ChannelGraph(
        model=model,
        twin=twin,
        inputs=inputs,
        sources=sources,
        records=tuple(canvas.records),
        returned=canvas.outputs,
        said=canvas.said,
        contractions=tuple(canvas.contractions),
        leaks=tuple(leaks),
        component_of_colour=parent,
        channel_of_colour=channel_of_colour,
        axes=axes,
        groups=groups,
        group_of_channel=group_of_channel,
        pins=tuple(canvas.pins),
        notes=_notes([*canvas.notes, *(one.mark for one in other)], channel_of_colour),
        statistics=tuple(kept),
        sites=tuple(sites or ()),
        watched=sites is not None,
        state=state or {},
        training=None,
        costs=parts.model(table, slots, np.array([g.size for g in groups], dtype=np.int64)),
    )


def _axes(
    sources: Sequence[Source], table: AxisTable, canvas: Canvas, zeroed: Sequence[Labels]
) -> tuple[Axis, ...]:
    places = [(source, axis) for source in sources for axis in range(source.tensor.dim())]
    painted = [
        (source.starts[axis], source.tensor.shape[axis])
        for source, axis in places
        if source.starts[axis] != UNPAINTED
    ]

    def marks(colours: Sequence[Labels]) -> Iterator[bool]:
        """Whether some slot of every painted axis is marked; the colours of sources are the first ones,
        without gaps.
        """
        marked = _marked(canvas.next_colour, colours)[: sum(painted[-1]) if painted else 0]
        return iter(
            np.logical_or.reduceat(marked, [start for start, _ in painted]).tolist() if painted else []
        )

    consumed, made, relied = marks(canvas.consumed), marks(canvas.made), marks([*canvas.relied, *zeroed])
    result = []
    for source, axis in places:
        channels, unpainted = source.part(table.channel_of_colour, axis), source.starts[axis] == UNPAINTED
        pattern = 0 if unpainted else table.pattern(channels)
        read, makes, must = (False, True, False) if unpainted else (next(consumed), next(made), next(relied))
        produces = makes or not read
        zero = (produces or must) and source.is_real
        result.append(
            Axis(
                source.name,
                axis,
                channels,
                produces,
                read,
                zero,
                source.neutral[axis],
                source.is_parameter,
                pattern,
            )
        )
    return tuple(result)


def _marked(count: int, colours: Sequence[Labels]) -> NDArray[np.bool_]:
    """True at all the given colours, shape (count,)."""
    result = np.zeros(count, dtype=bool)
    if colours:
        result[np.concatenate([labels.reshape(-1) for labels in colours])] = True
    return result


def _pinned_colours(canvas: Canvas, parent: Labels, sources: Sequence[Source]) -> NDArray[np.bool_]:
    """Components that contain the anchor, a pinned colour, or slots that no operator ever saw."""
    bad = _marked(canvas.next_colour, [parent[mark.labels] for mark in canvas.pins])
    bad[parent[ANCHOR]] = True
    used = (
        {id(t) for record in canvas.records for t in record.tensors}
        | canvas.standing_for
        | canvas.read_elsewhere
    )
    for source in sources:
        unseen = id(source.tensor) not in used
        for axis, size in enumerate(source.tensor.shape):
            if size == 1 or unseen:
                bad[source.part(parent, axis)] = True
    return bad


def made_by_none(canvas: Canvas, parent: Labels, sources: Sequence[Source]) -> list[Mark]:
    """What no parameter makes, so that nothing would make a removed one zero: copies of one slot, as of a
    grey image, random numbers, constants.
    """
    produced, held = np.zeros((2, canvas.next_colour), dtype=bool)
    for source in sources:
        for axis, start in enumerate(source.starts):
            if start != UNPAINTED:
                (produced if source.is_parameter else held)[start : start + source.tensor.shape[axis]] = True
    read = np.flatnonzero(produced)
    produced &= ~_marked(canvas.next_colour, canvas.consumed) | _marked(canvas.next_colour, canvas.made)
    made = np.zeros(canvas.next_colour, dtype=bool)
    made[parent[produced]] = True
    marks = [
        Mark(mark.labels[~made[parent[mark.labels]]], *mark[1:])
        for mark in canvas.copied
        if not made[parent[mark.labels]].all()
    ]
    made[parent[held]] = True
    alone = read[~made[parent[read]]]
    return [*marks, Mark(alone, "made by no parameter", "", Where("", 0))] if len(alone) else marks


def _number_channels(
    parent: Labels, pinned: NDArray[np.bool_], sources: Sequence[Source]
) -> tuple[Labels, int]:
    """Number the components that own parameter slots, in the order of their first slot; all other colours get
    -1.
    """
    ends = [
        start + size
        for s in sources
        if s.is_parameter
        for start, size in zip(s.starts, s.tensor.shape)
        if start != UNPAINTED
    ]
    end = max(ends, default=0)  # parameters have the first colours, and a component is known by its smallest
    roots = np.flatnonzero((parent[:end] == np.arange(end)) & ~pinned[:end])
    number = np.full(len(parent), -1)
    number[roots] = np.arange(len(roots))
    return number[parent], len(roots)


def _group(table: AxisTable, count: int) -> tuple[Labels, Labels]:
    """Channels that take the same number of slots of every distinct axis form a group.

    The group of every channel, shape (count,), and the slots that a group takes of every distinct axis, shape
    (axes, groups).
    """
    which, channels = table.slots()
    weights = np.random.default_rng(0).integers(1, 1 << 63, size=len(table), dtype=np.uint64)
    signature = np.zeros(count, dtype=np.uint64)
    np.add.at(signature, channels, weights[which])
    _, first, inverse = np.unique(signature, return_index=True, return_inverse=True)
    groups = len(first)
    rank = np.empty(groups, dtype=np.int64)
    rank[np.argsort(first)] = np.arange(groups)
    group_of_channel = rank[inverse.reshape(-1)]
    slots = np.bincount(which * groups + group_of_channel[channels], minlength=len(table) * groups)
    return group_of_channel, slots.reshape(len(table), groups)


def _name_groups(group_of_channel: Labels, slots: Labels, axes: Sequence[Axis]) -> tuple[Group, ...]:
    """Find the axes that hold each group."""
    sizes = np.bincount(group_of_channel, minlength=slots.shape[1])
    held = [[(g, row[g]) for g in np.flatnonzero(row).tolist()] for row in slots]
    members: list[list[tuple[str, int]]] = [[] for _ in sizes]
    producers: list[list[str]] = [[] for _ in sizes]
    slots_of = [0] * len(sizes)
    for axis in axes:
        for g, number in held[axis.pattern]:
            members[g].append((axis.name, axis.dim))
            if axis.is_parameter and axis.produces:
                producers[g].append(axis.name.rpartition(".")[0] or axis.name)
                slots_of[g] = slots_of[g] or int(number)
    channels = np.split(np.argsort(group_of_channel, kind="stable"), np.cumsum(sizes)[:-1])
    names = _distinct([_group_name(*names) for names in zip(producers, members)])
    return tuple(
        [
            Group(g, names[g], channels[g], tuple(members[g]), max(1, slots_of[g] // len(channels[g])))
            for g in range(len(sizes))
        ]
    )


def _group_name(producers: list[str], members: list[tuple[str, int]]) -> str:
    distinct = list(dict.fromkeys(producers)) or [members[0][0]]
    return distinct[0]


def _distinct(names: Sequence[str]) -> list[str]:
    """A layer whose slots fall into several groups (a split, say) gives names like `conv[0]`, `conv[1]`."""
    total, seen = Counter(names), Counter[str]()
    result = []
    for name in names:
        result.append(f"{name}[{seen[name]}]" if total[name] > 1 else name)
        seen[name] += 1
    return result


def _notes(marks: Sequence[Mark], channel_of_colour: Labels) -> tuple[Note, ...]:
    """One note per distinct reason and line, with the channels that it concerns."""
    found: dict[str, list[Labels]] = {}
    for mark in marks:
        channels = channel_of_colour[mark.labels].reshape(-1)
        if (channels >= 0).any():
            found.setdefault(f"{mark.reason} ({mark.operator}, {mark.where})", []).append(
                channels[channels >= 0]
            )
    return tuple(Note(np.unique(np.concatenate(parts)), text) for text, parts in found.items())
