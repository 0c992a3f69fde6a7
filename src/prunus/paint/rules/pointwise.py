"""Elementwise operators: where two colours meet, they are coupled; a colour that meets an unpainted axis of
the same length is pinned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from prunus.paint.call import Call, made_by
from prunus.paint.records import (
    Labels,
    Paint,
    Stripe,
    Values,
    constant,
    uniform,
    unknown_like,
    zero_if_either,
)

# By the place of the divisor.
_DIVISIONS = dict.fromkeys("div divide true_divide floor_divide remainder fmod".split(), 1) | {"addcdiv": 2}
_UNDEFINED = frozenset(
    "reciprocal rsqrt log log2 log10 pow float_power logit xlogy lgamma digamma polygamma acosh".split()
)  # for some numbers, like many of the special functions
_PRODUCTS = frozenset({"mul", "mul_", "div", "div_", "multiply", "true_divide"})
# What these make of some operands does not depend on the others: a slope times zero, a choice between equals.
# Tried with some numbers for those.
_INDIFFERENT = frozenset(
    "where masked_fill prelu _prelu_kernel rrelu_with_noise lerp addcmul addcdiv fmod remainder xlogy".split()
)
_HALF = frozenset({torch.float16, torch.bfloat16})
_TRIED = (-2.5, -0.7, 0.3, 1.0, 4.0)


def pointwise(call: Call) -> Sequence[Paint]:
    """The general rule of every elementwise operator, with broadcasting."""
    tensors = call.tensors
    rank = max((t.dim() for t in tensors), default=0)
    axes = {stripe.axis + rank - t.dim() for t in tensors for stripe in call.paint(t)}
    stripes: list[Stripe] = []
    for axis in sorted(axes):
        stripes.extend(meet(call, axis, rank))
    paint, unknown = tuple(stripes), tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in stripes)
    # only the first result was worked out: frexp gives an exponent, too
    return [
        (unknown if place else paint) if out.dim() == rank else () for place, out in enumerate(call.outputs)
    ]


def meet(call: Call, axis: int, rank: int, evaluate: bool = True) -> list[Stripe]:
    """Couple what meets along one axis of the broadcast shape, and return the stripes of the result there.

    Dead values are computed by the operator itself, or left unknown where `evaluate` is off.
    """
    spans = [(t, t.dim() - rank + axis) for t in call.tensors]
    size = max(t.shape[a] for t, a in spans if a >= 0)
    found = [(t, call.stripes(t, a)) for t, a in spans if a >= 0 and t.shape[a] == size]
    painted = [stripes for _, stripes in found if stripes]
    if size == 1 or not painted:
        return []
    if len(painted) < len(found):
        for stripes in painted:
            call.pin(stripes, "meets an unpainted tensor of the same length")
        return []
    if any(len(stripes) > 1 for stripes in painted):
        if all(same_labels(stripes, painted[0]) for stripes in painted):
            return [Stripe(axis, stripe.labels, _dead(call, {}, len(stripe.labels))) for stripe in painted[0]]
        found = [(t, one_set(call, stripes)) for t, stripes in found]
        painted = [stripes for _, stripes in found]
    first = painted[0][0]
    for stripes in painted[1:]:
        call.canvas.couple(first.labels, stripes[0].labels)
    if not evaluate:
        return [Stripe(axis, first.labels, unknown_like(first.labels))]
    operands = {id(t): stripes[0].dead for t, stripes in found}
    dead = _dead(call, operands, size)
    _look_for_hazards(call, operands, {id(t): stripes[0].labels for t, stripes in found}, dead)
    return [Stripe(axis, first.labels, dead)]


def _look_for_hazards(
    call: Call, operands: dict[int, Values], labels: dict[int, Labels], result: Values
) -> None:
    """Note where a removed slot becomes zero and is divided by, or has no logarithm: the masked network would
    have infinity or NaN there.
    """
    name = call.operator.rstrip("_")
    if name in _DIVISIONS:
        divisor = call.arg(_DIVISIONS[name], "tensor2" if name == "addcdiv" else "other")
        if isinstance(divisor, Tensor) and id(divisor) in operands and (operands[id(divisor)] == 0).any():
            call.canvas.hazard(divisor, labels[id(divisor)], call.operator)
    elif (
        (name in _UNDEFINED or name.startswith("special_"))
        and all(np.isfinite(dead).all() for dead in operands.values())
        and not np.isfinite(result).all()
        and _may_be_undefined(call, operands, len(result))
    ):
        for tensor in call.tensors:
            if id(tensor) in operands:
                call.canvas.hazard(tensor, labels[id(tensor)], call.operator)


def _may_be_undefined(call: Call, operands: dict[int, Values], size: int) -> bool:
    """Whether there is no number for some operands that are not known, as the exponent of a power may be."""
    known = {id(t): constant(_number(call, t), size) for t in call.tensors if _is_number(call, t)}
    return not np.isfinite(_tried(call, known | operands, size)).all()


def one_set(call: Call, stripes: list[Stripe]) -> list[Stripe]:
    """Where several sets of channels share one axis (a flattened kernel with its positions), the one of most
    channels stays free.
    """
    if len(stripes) < 2:
        return stripes
    first = largest_set(stripes)
    call.pin([stripe for stripe in stripes if stripe is not first], "two sets of channels share one axis")
    return [first]


def largest_set(stripes: Sequence[Stripe]) -> Stripe:
    """The stripe of most channels."""
    return max(stripes, key=lambda stripe: len(np.unique(stripe.labels)))


def same_labels(first: list[Stripe], second: list[Stripe]) -> bool:
    """Whether two lists of stripes hold the same colours in the same order."""
    return len(first) == len(second) and all(
        np.array_equal(a.labels, b.labels) for a, b in zip(first, second)
    )


def _dead(call: Call, dead: dict[int, Values], size: int) -> Values:
    """What a removed slot becomes: the operator itself, applied to what its operands become."""
    dead = {
        **dead,
        **{
            id(t): constant(_number(call, t), size)
            for t in call.tensors
            if id(t) not in dead and _is_number(call, t)
        },
    }
    if all(id(t) in dead for t in call.tensors):
        return _evaluate(call, [dead[id(t)] for t in call.tensors], size)
    if call.operator in _PRODUCTS:
        factors = call.tensors[:1] if call.operator.startswith(("div", "true")) else call.tensors
        result = constant(math.nan, size)
        for tensor in factors:
            if id(tensor) in dead:
                result = zero_if_either(result, dead[id(tensor)])
        return result
    return (
        _whatever_else(call, dead, size)
        if call.operator.rstrip("_") in _INDIFFERENT
        else constant(math.nan, size)
    )


def _is_number(call: Call, tensor: Tensor) -> bool:
    """Whether a tensor is one number that the forward wrote down."""
    value = call.canvas.constant_of(tensor) if tensor.numel() == 1 else None
    return value is not None and not value.is_complex()


def _number(call: Call, tensor: Tensor) -> float:
    value = call.canvas.constant_of(tensor)
    return math.nan if value is None else float(value)


def _tried(call: Call, dead: dict[int, Values], size: int) -> Values:
    """The results for all numbers that unknown operands are tried with, shape (trials, slots)."""
    spaces = [
        [dead[id(t)]]
        if id(t) in dead
        else [constant(v, size) for v in ((0.0, 1.0) if t.dtype == torch.bool else _TRIED)]
        for t in call.tensors
    ]
    return np.stack([_evaluate(call, list(operands), size) for operands in product(*spaces)])


def _whatever_else(call: Call, dead: dict[int, Values], size: int) -> Values:
    """The result where it is the same for all numbers that unknown operands are tried with."""
    results = _tried(call, dead, size)
    same: Values = np.where((results == results[0]).all(axis=0), results[0], np.nan)
    return constant(float(same[0]), size) if (same == same[0]).all() else same


def _evaluate(call: Call, operands: list[Values], size: int) -> Values:
    values = [uniform(operand) for operand in operands]
    if None not in values:
        return constant(_apply(call, tuple(cast("list[float]", values))), size)
    combinations, inverse = np.unique(np.stack(operands), axis=1, return_inverse=True)
    return np.array([_apply(call, tuple(column)) for column in combinations.T.tolist()])[inverse.reshape(-1)]


def _apply(call: Call, values: tuple[float, ...]) -> float:
    """The operator on plain numbers; NaN where it has no single answer."""
    if call.operator in _PRODUCTS and len(values) == 2:
        # zero times anything is zero, even where the other factor is not a known constant
        divides = call.operator.startswith(("div", "true"))
        if (values[0] == 0 and not (divides and values[1] == 0)) or (values[1] == 0 and not divides):
            return 0.0
    if any(value != value for value in values):
        return math.nan
    if call.operator in ("copy_", "copy"):
        return values[-1]
    scalars = tuple(a for a in call.args if not isinstance(a, Tensor))
    kinds = tuple([t.dtype for t in call.tensors])
    key = (
        call.func,
        kinds,
        scalars if _hashable(scalars) else id(call),
        repr(call.kwargs) if call.kwargs else "",
        values,
    )
    cache = call.canvas.dead_cache
    if key not in cache:
        cache[key] = _run(call, values)
    return cache[key]


def _run(call: Call, values: tuple[float, ...]) -> float:
    """In the precision of the call where that is half, which constants of a network in it do not exceed; else
    in the widest, as a network may be turned into any.
    """
    half = any(t.dtype in _HALF for t in call.tensors)
    found = _attempt(call, values, half)
    return _attempt(call, values, False) if half and math.isnan(found) else found


def _attempt(call: Call, values: tuple[float, ...], half: bool) -> float:
    rest = iter(values)

    def stand_in(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return torch.tensor([next(rest)], dtype=value.dtype if half else _kind(value.dtype))

    try:
        args = [stand_in(a) for a in call.args]
        kwargs = {k: stand_in(v) for k, v in call.kwargs.items()}
        with torch.utils._python_dispatch._disable_current_modes():
            result = made_by(call.func(*args, **kwargs))[0]
        found = result.reshape(-1)[0].item()
        return float(found) if not isinstance(found, complex) else found.real if not found.imag else math.nan
    except (RuntimeError, TypeError, ValueError, IndexError, StopIteration):
        return math.nan


def _kind(dtype: torch.dtype) -> torch.dtype:
    """The widest type of the same kind of number."""
    if dtype == torch.bool:
        return dtype
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else torch.int64


def _hashable(values: Any) -> bool:
    try:
        hash(values)
    except TypeError:
        return False
    return True
