"""Distances between two tensors, as networks with codebooks return them: pointwise, and reduced at once."""

from __future__ import annotations

from collections.abc import Sequence

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, is_zero
from prunus.paint.rules.pointwise import meet

_MEAN, _SUM = 1, 2  # torch's numbers for reductions


def distance(call: Call) -> Sequence[Paint]:
    """mse_loss, smooth_l1_loss, huber_loss: slots that are zero on both sides are no distance apart."""
    reduction = call.arg(2, "reduction", _MEAN)
    stripes = _met(call)
    if reduction == _MEAN:
        call.averaged(stripes, f"{call.operator} across the channels")
    elif reduction == _SUM:
        call.inexact([stripe for stripe in stripes if not is_zero(stripe.dead)], f"a sum of {call.operator}")
    else:
        return (stripes,)
    return ((),)


def _met(call: Call) -> Paint:
    """The stripes of what is not reduced yet."""
    rank = max(tensor.dim() for tensor in call.tensors)
    axes = {stripe.axis + rank - tensor.dim() for tensor in call.tensors for stripe in call.paint(tensor)}
    return tuple(stripe for axis in sorted(axes) for stripe in meet(call, axis, rank))


RULES: dict[str, Rule] = dict.fromkeys(("mse_loss", "smooth_l1_loss", "huber_loss"), distance)
