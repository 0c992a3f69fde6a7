"""Values that must not be zero: parameters that something is divided by, or whose logarithm is taken, are one
where a channel is removed.

Which axis it is counts: of a weight that is divided by its norms over its outputs, inputs that are removed
hold one, and outputs zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from prunus.paint.records import Hazard, Labels, Record
from prunus.paint.source import UNPAINTED, Neutral, Source

# Where the bias, which alone decides what a removed channel is, stands among the arguments of a contraction.
_BIASES = {"convolution": 2, "_convolution": 2, "addmm": 0, "baddbmm": 0}
_CONTRACTIONS = frozenset({*_BIASES, "mm", "bmm", "mv", "dot"})


def neutral_sources(
    records: Sequence[Record], sources: Sequence[Source], hazards: Sequence[Hazard]
) -> frozenset[Neutral]:
    """The axes of parameters and buffers that are behind values which must not be zero: those of the same
    colours, or all where there are none.

    That is what a value was made of by operators that keep slots apart; behind a product it is the bias, as
    the weight and what it is multiplied with are zero.
    """
    made = {id(tensor): record for record in records for tensor in record.outputs}
    known = {id(source.tensor): source for source in sources if source.is_real and source.tensor.dim()}
    found = ((source, hazard.labels) for hazard in hazards for source in _behind(hazard.tensor, made, known))
    return frozenset((source.name, axis) for source, labels in found for axis in _axes(source, labels))


def _axes(source: Source, labels: Labels) -> Sequence[int]:
    axes = range(source.tensor.dim())
    return [
        axis
        for axis in axes
        if np.isin(source.colours(axis), labels).any() and source.starts[axis] != UNPAINTED
    ] or axes


def _behind(tensor: Tensor, made: dict[int, Record], known: dict[int, Source]) -> Iterator[Source]:
    waiting, seen = [tensor], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if id(one) in known:
            yield known[id(one)]
        elif id(one) in made:
            waiting.extend(_operands(made[id(one)]))


def _operands(record: Record) -> Sequence[Tensor]:
    if record.operator not in _CONTRACTIONS:
        return record.tensors
    place = _BIASES.get(record.operator)
    bias = record.args[place] if place is not None else None
    return (bias,) if isinstance(bias, Tensor) else ()
