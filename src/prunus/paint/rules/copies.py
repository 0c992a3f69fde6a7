"""Copies and random numbers: an axis that the forward makes itself gets colours of its own, which go with the
channels that they meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from prunus.paint.call import Call, Rule
from prunus.paint.records import Mark, Paint, Stripe, Values, constant, unknown_like, zero_or_unknown


def expand(call: Call) -> Sequence[Paint]:
    """expand: stripes shift by the axes put in front; the copies along a new axis, or one of length one, are
    slots of their own.
    """
    x, out = call.tensors[0], call.outputs[0]
    lead = out.dim() - x.dim()
    stripes = [stripe.on(stripe.axis + lead) for stripe in call.paint(x)]
    made = [axis for axis, n in enumerate(out.shape) if n > 1 and (axis < lead or x.shape[axis - lead] == 1)]
    return ((*stripes, *_copies(call, x, out, made)),)


def repeat(call: Call) -> Sequence[Paint]:
    """repeat: labels repeat with the values; the copies along a new axis, or one of length one, are slots of
    their own.
    """
    x, out, times = call.tensors[0], call.outputs[0], list(call.args[1])
    lead = len(times) - x.dim()
    stripes = [
        Stripe(y.axis + lead, np.tile(y.labels, times[y.axis + lead]), np.tile(y.dead, times[y.axis + lead]))
        for y in call.paint(x)
    ]
    made = [axis for axis, n in enumerate(out.shape) if n > 1 and (axis < lead or x.shape[axis - lead] == 1)]
    return ((*stripes, *_copies(call, x, out, made)),)


def _copies(call: Call, x: Tensor, out: Tensor, axes: Sequence[int]) -> list[Stripe]:
    stripes = [
        Stripe(axis, call.canvas.fresh(out.shape[axis]), _held(call, x, out.shape[axis])) for axis in axes
    ]
    for stripe in stripes:
        if np.isnan(stripe.dead).any():
            call.canvas.copied.append(
                Mark(stripe.labels, "copies of one slot", call.operator, call.canvas.where())
            )
    return stripes


def _held(call: Call, x: Tensor, count: int) -> Values:
    """What copies of a tensor hold: known where it is a constant of one value."""
    value = call.canvas.constant_of(x)
    if (
        value is None
        or value.is_complex()
        or not value.numel()
        or not bool((value == value.reshape(-1)[0]).all())
    ):
        return constant(math.nan, count)
    return constant(float(value.reshape(-1)[0]), count)


def drawn(call: Call) -> Sequence[Paint]:
    """Random numbers of a tensor's shape, in place or not: other ones are drawn once the
    tensor is smaller.
    """
    paint = call.paint(call.tensors[0])
    _note(call, paint)
    unknown = tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in paint)
    return [unknown if out.shape == call.tensors[0].shape else () for out in call.outputs]


def chosen(call: Call) -> Sequence[Paint]:
    """bernoulli: probabilities of zero and one give the same."""
    paint = call.paint(call.tensors[0])
    _note(call, paint)
    return (
        tuple(
            Stripe(y.axis, y.labels, np.where((y.dead == 0) | (y.dead == 1), y.dead, np.nan)) for y in paint
        ),
    )


def dropped(call: Call) -> Sequence[Paint]:
    """native_dropout(x, p, train): where it is on, which slots it drops depends on how many there are."""
    paint = call.paint(call.tensors[0])
    if call.arg(2, "train") is False:
        return (paint,) * len(call.outputs)
    _note(call, paint)
    kept = tuple(Stripe(y.axis, y.labels, zero_or_unknown(y.dead)) for y in paint)
    return (kept, tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in paint))


def _note(call: Call, paint: Paint) -> None:
    call.inexact(paint, "random numbers for the channels")


_DRAWN = (
    *("uniform", "normal", "normal_functional", "random", "exponential", "cauchy", "geometric", "log_normal"),
    *("rand_like", "randn_like", "randint_like", "poisson", "binomial"),
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(("expand", "broadcast_to"), expand),
    "repeat": repeat,
    **dict.fromkeys(_DRAWN, drawn),
    "bernoulli": chosen,
    "bernoulli_": drawn,
    "native_dropout": dropped,
}
