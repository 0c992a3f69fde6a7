"""Values that must not be zero: parameters that something is divided by, or whose logarithm is taken, are one where a channel is removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from prunus.channels.layers import Hazard, Record
from prunus.channels.source import Source

# Where the bias, which alone decides what a removed channel is, stands among the arguments of a contraction.
_BIASES = {"convolution": 2, "_convolution": 2, "addmm": 0, "baddbmm": 0}
_CONTRACTIONS = frozenset({*_BIASES, "mm", "bmm", "mv", "dot"})


def neutral_sources(records: Sequence[Record], sources: Sequence[Source], hazards: Sequence[Hazard]) -> frozenset[str]:
    """Names of the parameters and buffers that are behind values which must not be zero.

    That is what a value was made of by operators that keep slots apart; behind a product it is the bias, as the weight and what it is multiplied
    with are zero.
    """
    made = {id(tensor): record for record in records for tensor in record.outputs}
    names = {id(source.tensor): source.name for source in sources if source.is_real and source.tensor.dim()}
    return frozenset(name for hazard in hazards for name in _behind(hazard.tensor, made, names))


def _behind(tensor: Tensor, made: dict[int, Record], names: dict[int, str]) -> Iterator[str]:
    waiting, seen = [tensor], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if id(one) in names:
            yield names[id(one)]
        elif id(one) in made:
            waiting.extend(_operands(made[id(one)]))


def _operands(record: Record) -> Sequence[Tensor]:
    if record.operator not in _CONTRACTIONS:
        return record.tensors
    place = _BIASES.get(record.operator)
    bias = record.args[place] if place is not None else None
    return (bias,) if isinstance(bias, Tensor) else ()
