"""Which axes of parameters make channels, and which must be zero where a channel is removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from prunus.paint.call import Call
from prunus.paint.records import Labels, Paint, Stripe
from prunus.paint.rules import is_pointwise


def makers_of(call: Call, paint: Paint) -> Iterator[Labels]:
    """The axes of a parameter's paint that make channels: those that are not multiplied with channels and
    summed over. Of a matrix and itself transposed the same slots do both.
    """
    consumed = Counter(map(id, call.consumed))
    for stripe in paint:
        if consumed[id(stripe.labels)]:
            consumed[id(stripe.labels)] -= 1
        else:
            yield stripe.labels


def kept_of(call: Call, tensor: Tensor, stripe: Stripe, paints: Sequence[Paint]) -> list[Labels]:
    """The colours of results that may be those of a stripe: where several tensors meet axis by axis, as a
    square matrix and itself transposed, the ones on the axis where it stands.
    """
    results = [y for paint in paints for y in paint]
    if len(call.tensors) > 1 and (call.operator in _JOINS or is_pointwise(call.func, call.operator)):
        axis = _place(call, tensor, stripe)
        results = [y for y in results if y.axis == axis]
    return [y.labels for y in results]


_JOINS = ("cat", "stack")


def _place(call: Call, tensor: Tensor, stripe: Stripe) -> int:
    """The axis of the result along which an axis of an operand lies."""
    rank = call.outputs[0].dim()
    if call.operator == "stack":
        return stripe.axis + int(stripe.axis >= call.arg(1, "dim", 0) % rank)
    return stripe.axis - tensor.dim() + rank


def is_among(labels: Labels, kept: Sequence[Labels]) -> bool:
    """Whether all of these colours are on one of the given axes."""
    return any(labels is other for other in kept) or any(bool(np.isin(labels, other).all()) for other in kept)


__all__ = ["is_among", "kept_of", "makers_of"]
