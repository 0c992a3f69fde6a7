"""Distances from a mean, written out: `(x - x.mean(1, keepdim=True)).pow(2).mean(1)`, as layer norms over
axis 1 and standardised weights have it.

A removed slot is not zero there, but as far from the mean as zero is; so whoever knows the mean knows the
statistic over all slots.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from prunus.paint.call import Call
from prunus.paint.canvas import Canvas
from prunus.paint.records import Centre, Record, Stripe, is_zero

_LIKE = frozenset({"_to_copy", "to", "alias", "detach", "clone"})
_MOVED = _LIKE | {"view", "unsqueeze", "squeeze", "reshape", "_unsafe_view", "expand", "flatten"}


def centre_of(call: Call, stripe: Stripe) -> Centre | None:
    """What was subtracted from what an operator takes a statistic of, or of which it averages the squares;
    None where it is anything else.
    """
    canvas, x, last = call.canvas, call.tensors[0], len(call.canvas.records)
    plain = _subtracted(canvas, x, last, stripe)
    if plain is None and call.operator == "mean":
        squares = _maker(canvas, x, last)
        found = (
            [
                _subtracted(canvas, distances, squares, stripe)
                for distances in _squared(canvas.records[squares])
            ]
            if squares is not None
            else []
        )
        centre = (
            Centre(found[0], 2)
            if found and found[0] is not None and all(_same(canvas, found[0], one) for one in found)
            else None
        )
    else:
        centre = Centre(plain, 1) if plain is not None else None
    return centre if centre is not None and _is_known(call, centre) else None


def _same(canvas: Canvas, first: int, second: int | None) -> bool:
    """Whether two records are one mean, or the same mean taken twice."""
    if second is None or first == second:
        return second is not None
    one, other = canvas.records[first], canvas.records[second]
    return one.tensors[0] is other.tensors[0] and (one.args[1:], one.kwargs) == (other.args[1:], other.kwargs)


def _is_known(call: Call, centre: Centre) -> bool:
    """Whether one number of what was subtracted belongs to every result, or it can be averaged over the same
    axes, as no variance can.
    """
    subtracted = call.canvas.records[centre.record].outputs[0]
    return subtracted.numel() == call.outputs[0].numel() or (
        call.operator == "mean" and subtracted.dim() == call.tensors[0].dim()
    )


def _squared(record: Record) -> Sequence[Tensor]:
    """What a record squares: one tensor, or two of which it is the product."""
    name, operands = record.operator.rstrip("_"), record.tensors
    if name == "square" or (
        name == "pow" and len(operands) == 1 and len(record.args) == 2 and record.args[1] == 2
    ):
        return operands[:1]
    return operands if name == "mul" and len(operands) == 2 else ()


def _subtracted(canvas: Canvas, distances: Tensor, before: int, stripe: Stripe) -> int | None:
    """The record of the mean from which these are the distances of what holds zero in removed slots."""
    place = _maker(canvas, distances, before)
    record = canvas.records[place] if place is not None else None
    if (
        place is None
        or record is None
        or record.operator.rstrip("_") != "sub"
        or len(record.tensors) != 2
        or record.kwargs.get("alpha", 1) != 1
    ):
        return None
    for mine, other in ((0, 1), (1, 0)) if len(record.args) == 2 else ():
        own = [
            one
            for one in record.inputs[mine]
            if is_zero(one.dead) and np.isin(stripe.labels, one.labels).all()
        ]
        if len(own) != 1 or any(np.isin(stripe.labels, one.labels).any() for one in record.inputs[other]):
            continue
        mean = _maker(canvas, record.tensors[other], place)
        if mean is not None and canvas.records[mean].operator == "mean":
            return mean
    return None


def _maker(canvas: Canvas, tensor: Tensor, before: int) -> int | None:
    """The last record in front of another one that made a tensor, or what it is a view or a copy of."""
    for place in range(before - 1, -1, -1):
        record = canvas.records[place]
        if any(tensor is one for one in record.outputs):
            if record.operator not in _MOVED or not record.tensors:
                return place
            tensor = record.tensors[0]
    return None


__all__ = ["centre_of"]
