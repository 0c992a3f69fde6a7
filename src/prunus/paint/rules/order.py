"""Largest and smallest, middle and sorted values: across channels they are inexact; indices that somebody
reads count the channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, constant, unknown_like
from prunus.paint.rules.pointwise import pointwise

_KEPT = frozenset({"max", "min"})  # of what is left and of zero, where others were


def extreme(call: Call) -> Sequence[Paint]:
    """max, min, median, mode, kthvalue and aminmax, over one axis or over all; max and min of two tensors are
    pointwise.
    """
    if len(call.tensors) > 1:
        return pointwise(call)
    x = call.tensors[0]
    dim = call.arg(
        2 if call.operator == "kthvalue" else 1, "dim", -1 if call.operator in ("kthvalue", "mode") else None
    )
    gone = set(range(x.dim())) if dim is None else {dim % max(x.dim(), 1)}
    keep = call.outputs[0].dim() == x.dim()
    stripes = [
        stripe.on(stripe.axis if keep else stripe.axis - sum(d < stripe.axis for d in gone))
        for stripe in call.paint(x)
        if stripe.axis not in gone
    ]
    indices = call.outputs[1:] if call.operator != "aminmax" else ()
    _across(call, [stripe for stripe in call.paint(x) if stripe.axis in gone], indices)
    return _with_indices(call, stripes, indices)


def ranked(call: Call) -> Sequence[Paint]:
    """sort and topk: the largest few across channels are values of some channels or others."""
    x, out = call.tensors[0], call.outputs[0]
    axis = call.arg(2 if call.operator == "topk" else 1, "dim", -1) % max(x.dim(), 1)
    found = call.stripes(x, axis)
    if call.canvas.value_of(x) is not None:  # a constant, as where an order is turned round
        sorted_ = [
            Stripe(axis, call.canvas.fresh(n), constant(math.nan, n)) for n in out.shape[axis : axis + 1]
        ]
        return ((*(stripe for stripe in call.paint(x) if stripe.axis != axis), *sorted_),) * len(call.outputs)
    if call.operator == "topk" and out.dim() and out.shape[axis] < x.shape[axis]:
        _across(call, found, call.outputs[1:])
    else:
        call.pin(found, f"{call.operator} along the channels")
    return _with_indices(call, [y for y in call.paint(x) if y.axis != axis], call.outputs[1:])


def _across(call: Call, stripes: Sequence[Stripe], indices: Sequence[Tensor]) -> None:
    (call.averaged if call.operator in _KEPT else call.inexact)(
        stripes, f"{call.operator} across the channels"
    )
    for stripe in stripes:
        for tensor in indices:
            call.canvas.pin_if_read(
                tensor, stripe.labels, f"{call.operator} counts the channels", call.operator
            )


def _with_indices(call: Call, stripes: Sequence[Stripe], indices: Sequence[Tensor]) -> Sequence[Paint]:
    """Values keep what a removed slot holds, as all that is compared is the same there; where it is found is
    no known number.
    """
    unknown = tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in stripes)
    return [unknown if any(out is tensor for tensor in indices) else tuple(stripes) for out in call.outputs]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("max", "min", "median", "nanmedian", "mode", "kthvalue", "aminmax"), extreme),
    **dict.fromkeys(("sort", "topk"), ranked),
}
