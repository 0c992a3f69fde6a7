"""What only training runs, such as auxiliary heads, or only inputs of another size, is painted as well: what
it couples, pins and relies on counts like the rest.

Two forwards are painted apart, each with colours of its own beyond those of the parameters, which are the
first and the same in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from prunus.paint.build import made_by_none
from prunus.paint.canvas import Canvas
from prunus.paint.components import components
from prunus.paint.folding import agree, settle_leaks
from prunus.paint.model_copy import Modules, Twin
from prunus.paint.records import Labels, Mark, Where
from prunus.paint.source import Source, colours_of


@dataclass(frozen=True, eq=False)
class Forward:
    """One forward of a model that was painted, in eval or in train mode, on inputs of one size."""

    canvas: Canvas
    twin: Twin
    sources: tuple[Source, ...]
    outputs: tuple[Tensor, ...]


# -- where one cannot be followed ----------------------------------------------------------------------------


def keep_readable(run: Forward) -> list[str]:
    """Pin what parameters that a forward does not read may read in one that cannot be followed; the names of
    these parameters.

    A stripe reads channels in the number that its weight takes. Where neither the forward nor another such
    stripe makes that many, it reads anything.
    """
    left = unread(run)
    stripes = [
        stripe
        for record in run.canvas.records
        for tensor, paint in zip(record.outputs, record.paints)
        if not run.canvas.is_fixed(tensor)
        for stripe in paint
    ]
    lengths = {len(stripe.labels) for stripe in stripes}
    made = {_made(run.twin.modules, source) for source in left if source.tensor.dim() > 1}
    read = [_widths(run.twin.modules, source) for source in left]
    anything = any(widths and not widths & (lengths | made) for widths in read)
    wanted = set[int]().union(*read)
    for stripe in stripes:
        if anything or len(stripe.labels) in wanted:
            run.canvas.pins.append(
                Mark(stripe.labels, "training may read it, but cannot be followed", "", Where("", 0))
            )
    return [source.name for source in left]


def _made(modules: Modules, source: Source) -> int:
    """How many channels a weight makes."""
    width = vars(modules[source.name.rpartition(".")[0]]).get("out_channels")
    return width if isinstance(width, int) else source.tensor.shape[0]


def _widths(modules: Modules, source: Source) -> set[int]:
    """How many channels a stripe may read by one of its parameters."""
    module = modules[source.name.rpartition(".")[0]]
    for name in ("in_channels", "in_features"):
        width = vars(module).get(name)
        if isinstance(width, int):
            return {width}
    return {n for n in source.tensor.shape if n > 1}


# -- what a forward besides the two that a graph keeps shows ------------------------------------------------


def pin_unkept(run: Forward, kept: Sequence[Forward]) -> None:
    """Pin what a forward does with channels that go besides, where only the graph of a forward can make up
    for it: statistics over them, and constants that belong into the bias of a layer that the `kept` ones do
    not run.
    """
    canvas = run.canvas
    known = {_place(mark) for one in kept for mark in _looks(one.canvas)}
    canvas.pins.extend(mark for mark in _looks(canvas) if _place(mark) not in known)
    running = {record.module for one in kept for record in one.canvas.records}
    elsewhere = {i for i, record in enumerate(canvas.records) if record.module not in running}
    canvas.leaks[:] = [
        leak._replace(foldable=False) if leak.record in elsewhere else leak for leak in canvas.leaks
    ]
    left, _ = settle_leaks(canvas.records, run.twin.modules, canvas.leaks, canvas.relied)
    for leak in left:
        if leak.record in elsewhere:
            record = canvas.records[leak.record]
            labels = leak.labels[leak.dead != 0]
            canvas.pins.append(
                Mark(labels, "not every forward reads its constant", record.operator, record.where)
            )


def _looks(canvas: Canvas) -> list[Mark]:
    """Where a forward looks across channels."""
    return [*canvas.notes, *(one.mark for one in canvas.statistics)]


def _place(mark: Mark) -> tuple[str, str, str]:
    return mark.reason, mark.operator, str(mark.where)


# -- two forwards, one set of channels -----------------------------------------------------------------------


def share(first: Forward, second: Forward) -> None:
    """Give each of two forwards of one model what the other shows of its parameters."""
    sides, count = (first, second), colours_of(first.sources)
    agree(*((run.canvas.records, run.twin.modules, run.canvas.leaks) for run in sides))
    known = [_known(run, count) for run in sides]
    seen = [_read(run) for run in sides]
    for run, (edges, pins, marks), read in zip(sides, reversed(known), reversed(seen)):
        canvas = run.canvas
        canvas.edges.append(edges)
        canvas.pins.extend(pins)
        for kept, found in zip((canvas.consumed, canvas.made, canvas.relied), marks):
            kept.extend(found)
        canvas.read_elsewhere |= {id(source.tensor) for source in run.sources if source.name in read}
    alone = [_alone(run, count) for run in sides]
    for run, pins in zip(sides, reversed(alone)):
        run.canvas.pins.extend(pins)


def unread(run: Forward) -> list[Source]:
    """Parameters of more than one number that a forward does not read."""
    return [source for source in _unread(run) if source.is_parameter and source.tensor.numel() > 1]


def _unread(run: Forward) -> list[Source]:
    used = {
        id(tensor) for record in run.canvas.records for tensor in record.tensors
    } | run.canvas.standing_for
    return [source for source in run.sources if id(source.tensor) not in used]


def _read(run: Forward) -> set[str]:
    """Parameters that a forward reads, or another one that it was told of."""
    names = {source.name for source in run.sources} - {source.name for source in _unread(run)}
    return names | {source.name for source in run.sources if id(source.tensor) in run.canvas.read_elsewhere}


Known = tuple[tuple[Labels, Labels], list[Mark], tuple[list[Labels], list[Labels], list[Labels]]]


def _known(run: Forward, count: int) -> Known:
    """What a forward shows, said of the colours of parameters alone: couplings, pins, and what is consumed,
    made and relied on.
    """
    canvas, parent = run.canvas, _components(run)
    _, zeroed = settle_leaks(canvas.records, run.twin.modules, canvas.leaks, canvas.relied)
    lists = (canvas.consumed, canvas.made, [*canvas.relied, *zeroed])
    consumed, made, relied = ([labels for labels in found if (labels < count).all()] for found in lists)
    return (
        (np.arange(count), parent[:count]),
        _of_parameters(canvas.pins, parent, count),
        (consumed, made, relied),
    )


def _alone(run: Forward, count: int) -> list[Mark]:
    """Pins of what neither of the two forwards makes by a parameter, once each knows of the other."""
    parent = _components(run)
    return _of_parameters(made_by_none(run.canvas, parent, run.sources), parent, count)


def _components(run: Forward) -> Labels:
    return components(run.canvas.next_colour, run.canvas.edges, run.canvas.whole)


def _of_parameters(marks: Sequence[Mark], parent: Labels, count: int) -> list[Mark]:
    """Marks on the parameters' colours that belong to the marked ones; a component is known by its smallest
    colour.
    """
    roots = [(mark, np.unique(parent[mark.labels].reshape(-1))) for mark in marks]
    return [Mark(labels[labels < count], *mark[1:]) for mark, labels in roots if (labels < count).any()]
