"""What only training runs, such as auxiliary heads, is painted as well: what it couples, pins and relies on counts like the rest.

The two forwards are painted apart, each with colours of its own beyond those of the parameters, which are the first and the same in both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prunus.channels.components import components
from prunus.channels.fold import settle_leaks
from prunus.channels.layers import ANCHOR, Labels, Mark
from prunus.channels.paint import Painter
from prunus.channels.source import Source
from prunus.channels.twin import Twin


def unread(painter: Painter, sources: Sequence[Source]) -> list[str]:
    """Names of the parameters that no operator read, if they have more than one number."""
    return [source.name for source in _unread(painter, sources) if source.is_parameter and source.tensor.numel() > 1]


def share(first: Painter, second: Painter, sources: Sequence[Source], others: Sequence[Source], twins: tuple[Twin, Twin]) -> None:
    """Give each of two painters of one model what the other found about its parameters."""
    count = _count(sources)
    sides = ((first, sources, twins[0]), (second, others, twins[1]))
    known = [_known(painter, twin, count) for painter, _, twin in sides]
    seen = [{source.name for source in own} - {source.name for source in _unread(painter, own)} for painter, own, _ in sides]
    for (painter, own, _), (edges, pins, notes, marks), read in zip(sides, reversed(known), reversed(seen)):
        painter.edges.append(edges)
        painter.pins.extend(pins)
        painter.notes.extend(notes)
        for kept, found in zip((painter.consumed, painter.made, painter.relied), marks):
            kept.extend(found)
        painter.read_elsewhere = {id(source.tensor) for source in own if source.name in read}


def _unread(painter: Painter, sources: Sequence[Source]) -> list[Source]:
    used = {id(tensor) for record in painter.records for tensor in record.tensors} | painter.standing_for
    return [source for source in sources if id(source.tensor) not in used]


def _count(sources: Sequence[Source]) -> int:
    """One more than the last colour of a parameter or buffer."""
    ends = [start + size for source in sources for start, size in zip(source.starts, source.tensor.shape)]
    return max(ends, default=ANCHOR + 1)


Known = tuple[tuple[Labels, Labels], list[Mark], list[Mark], tuple[list[Labels], list[Labels], list[Labels]]]


def _known(painter: Painter, twin: Twin, count: int) -> Known:
    """What a painter found, said of the colours of parameters alone: couplings, pins, notes, and what is consumed, made and relied on."""
    parent = components(painter.next_colour, painter.edges, painter.whole)
    own = np.arange(count)

    def said(marks: Sequence[Mark]) -> list[Mark]:
        roots = [(mark, np.unique(parent[mark.labels].reshape(-1))) for mark in marks]
        return [Mark(labels[labels < count], *mark[1:]) for mark, labels in roots if (labels < count).any()]

    _, zeroed = settle_leaks(painter.records, twin.modules, painter.leaks, painter.relied)
    lists = (painter.consumed, painter.made, [*painter.relied, *zeroed])
    consumed, made, relied = ([labels for labels in found if (labels < count).all()] for found in lists)
    return (own, parent[:count]), said(painter.pins), said(painter.notes), (consumed, made, relied)
