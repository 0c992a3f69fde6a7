"""Reductions: a sum over a painted axis drops the stripe; any other statistic over it
makes the plan inexact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from prunus.paint.call import Call, Rule
from prunus.paint.finite import holds_if_finite
from prunus.paint.records import Paint, Stripe, Values, constant, is_zero, unknown_like, zero_or_unknown
from prunus.paint.rules.centred import centre_of

_KEEP = frozenset({"mean", "amax", "amin", "nanmean"})  # of equal numbers, what each of them is
_KEEP_ZERO = frozenset({"sum", "nansum", "linalg_vector_norm", "norm", "prod", "count_nonzero"})
_SPREADS = frozenset({"var", "std", "var_mean", "std_mean"})  # zero for equal numbers
_NORMS = frozenset({"linalg_vector_norm", "norm"})
_AVERAGES = frozenset({"mean", "var", "std", "var_mean", "std_mean", "amax", "amin"})
_CENTRED = frozenset({"mean", "var", "std"})
_DIM_SECOND = frozenset({"linalg_vector_norm", "norm"})  # dim is the third argument: (x, order, dim, keepdim)


def reduction(call: Call) -> Sequence[Paint]:
    """sum, mean, max, norm, variance … over given axes, or over all."""
    x = call.tensors[0]
    dims = _dims(call, x.dim())
    keep = any(out.dim() == x.dim() for out in call.outputs)
    stripes = []
    for stripe in call.paint(x):
        if stripe.axis in dims:
            _drop(call, stripe)
        else:
            axis = stripe.axis if keep else stripe.axis - sum(d < stripe.axis for d in dims)
            stripes.append(stripe.on(axis))
    kinds = (call.operator, "mean")[: len(call.outputs)]  # the second result, where there is one, is a mean
    return [tuple(Stripe(y.axis, y.labels, _reduced(kind, y.dead)) for y in stripes) for kind in kinds]


def _dims(call: Call, rank: int) -> set[int]:
    position = 2 if call.operator in _DIM_SECOND else 1
    dims = call.arg(position, "dim")
    if dims is None or isinstance(dims, bool) or (isinstance(dims, (list, tuple)) and not dims):
        return set(range(rank))
    return {d % max(rank, 1) for d in (dims if isinstance(dims, (list, tuple)) else [dims])}


def _drop(call: Call, stripe: Stripe) -> None:
    if call.operator == "sum":
        if not is_zero(stripe.dead):
            call.inexact([stripe], "a sum over slots that do not become zero")
    elif call.operator.startswith("arg"):
        call.pin([stripe], f"{call.operator} counts the channels")
    elif call.operator in _NORMS and is_zero(stripe.dead) and _order(call) > 0:
        return  # zeros add nothing
    elif call.operator in ("all", "any") and _asks_if_finite(call):
        return  # zeros are
    elif call.operator in _AVERAGES:
        reason = f"{call.operator} across the channels"
        centre = centre_of(call, stripe) if call.operator in _CENTRED and not is_zero(stripe.dead) else None
        if centre is None:
            call.averaged([stripe], reason)
        else:
            call.canvas.averaged(stripe, reason, call.operator, centre)
    else:
        call.inexact([stripe], f"{call.operator} across the channels")


def _asks_if_finite(call: Call) -> bool:
    return holds_if_finite(call.canvas.records, call.tensors[0]) is not None


def _order(call: Call) -> float:
    """The p of a p-norm; 0 where it is no plain number."""
    order = call.arg(1, "ord" if call.operator == "linalg_vector_norm" else "p", 2)
    return float(order) if isinstance(order, (int, float)) else 2.0 if order is None else 0.0


def _reduced(operator: str, dead: Values) -> Values:
    """What a reduction makes of slots that all hold the same number."""
    if operator in _KEEP:
        return dead
    if operator in _SPREADS:
        return zero_or_unknown(dead * 0)
    return zero_or_unknown(dead) if operator in _KEEP_ZERO else constant(math.nan, len(dead))


def cumulative(call: Call) -> Sequence[Paint]:
    """cumsum and the like: along a painted axis they pin it."""
    x = call.tensors[0]
    axis = call.args[1] % max(x.dim(), 1)
    call.pin(call.stripes(x, axis), "accumulated along the channels")
    passed = [y for y in call.paint(x) if y.axis != axis]
    unknown = tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in passed)
    if call.operator.startswith("logcumsumexp"):
        return (unknown,)
    return (
        tuple(Stripe(y.axis, y.labels, zero_or_unknown(y.dead)) for y in passed),
        *(unknown for _ in call.outputs[1:]),
    )


_REDUCTIONS = (
    *("sum", "mean", "amax", "amin", "argmax", "argmin", "var", "std", "var_mean", "std_mean", "prod"),
    *("linalg_vector_norm", "norm", "any", "all", "logsumexp", "count_nonzero", "nanmean", "nansum"),
)


def check(call: Call) -> Sequence[Paint]:
    """_is_all_true, by which torch raises errors, and questions about shapes: they make nothing, and hold for
    some where they do for all.
    """
    return ((),) * len(call.outputs)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("_is_all_true", "is_same_size", "_has_same_storage_numel"), check),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"), cumulative),
}
