"""Normalisations couple their affine parameters with what they normalise; statistics *across* a pruned axis
make a plan inexact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, Values, constant, plus, unknown_like, zero_or_unknown


def _affine(call: Call, stripe: Stripe, tensors: Sequence[Tensor | None], axis: int = 0) -> None:
    """Couple a channel stripe with the normalisation's own vectors."""
    for tensor in tensors:
        if tensor is not None and tensor.dim() > 0:
            found = call.stripes(tensor, axis)
            if len(found) == 1:
                call.canvas.couple(stripe.labels, found[0].labels)
            else:
                call.pin([stripe, *found], "the normalisation's parameters are unpainted")


def _scaled(call: Call, size: int, weight: Tensor | None, bias: Tensor | None, bare: Values) -> Values:
    """What a removed slot holds: the zeroed shift where the scale is zeroed, else the
    bare normalised value.
    """
    dead = constant(0.0, size) if weight is not None and call.paint(weight) else bare
    if bias is None:
        return dead
    stripes = call.stripes(bias, 0)
    return plus(dead, stripes[0].dead) if len(stripes) == 1 else constant(math.nan, size)


def batch_norm(call: Call) -> Sequence[Paint]:
    """Batch norm over axis 1, with running statistics or with those of the batch (instance norm, weight
    standardisation).
    """
    x, weight, bias = call.args[0], call.args[1], call.args[2]
    mean, variance = (call.args[3], call.args[4]) if len(call.args) > 4 else (None, None)
    training = (
        bool(call.args[5])
        if call.operator in ("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit")
        else False
    )
    training = training or mean is None or "no_stats" in str(call.func)
    stripes: list[Stripe] = []
    for stripe in call.paint(x):
        if stripe.axis == 1:
            _affine(call, stripe, (weight, bias, mean, variance))
            bare = np.where(np.isnan(stripe.dead), np.nan, 0.0) if training else zero_or_unknown(stripe.dead)
            stripes.append(Stripe(1, stripe.labels, _scaled(call, len(stripe.labels), weight, bias, bare)))
        else:
            if training:
                call.averaged([stripe], "statistics across the channels")
            stripes.append(Stripe(stripe.axis, stripe.labels, unknown_like(stripe.labels)))
    if not call.stripes(x, 1):
        call.pin(
            [y for t in (weight, bias, mean, variance) for y in call.paint(t)],
            "normalises an unpainted tensor",
        )
    return (
        tuple(stripes),
        *(_statistics(call, [y for y in stripes if y.axis == 1], 0) if training else ((), ())),
    )


def _statistics(call: Call, stripes: list[Stripe], axis: int) -> list[Paint]:
    """Saved means and deviations have one slot per channel (or per group)."""
    paint = tuple(Stripe(axis, y.labels, unknown_like(y.labels)) for y in stripes)
    return [
        paint if paint and t.dim() > axis and t.shape[axis] == len(paint[0].labels) else ()
        for t in call.outputs[1:]
    ]


def _with_statistics(call: Call, stripes: Sequence[Stripe], first: int) -> Sequence[Paint]:
    """The result's stripes, and those that means and deviations over the axes from `first`
    on share with it.
    """
    statistics = tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in stripes if y.axis < first)
    return (tuple(stripes),) + (statistics,) * (len(call.outputs) - 1)


def layer_norm(call: Call) -> Sequence[Paint]:
    """Layer norm over the last axes: exact only for slots that it does not normalise across."""
    x, shape, weight, bias = call.args[0], call.args[1], call.args[2], call.args[3]
    first = x.dim() - len(shape)
    stripes = []
    for stripe in call.paint(x):
        if stripe.axis < first:
            dead = zero_or_unknown(stripe.dead) if bias is None else unknown_like(stripe.labels)
            stripes.append(Stripe(stripe.axis, stripe.labels, dead))
            continue
        _affine(call, stripe, (weight, bias), stripe.axis - first)
        call.averaged([stripe], "layer norm across the channels")
        dead = constant(0.0, len(stripe.labels)) if weight is not None else unknown_like(stripe.labels)
        stripes.append(Stripe(stripe.axis, stripe.labels, dead))
    for axis in range(first, x.dim()):
        if not call.stripes(x, axis):
            call.pin(
                [y for t in (weight, bias) for y in call.stripes(t, axis - first)],
                "normalises an unpainted tensor",
            )
    return _with_statistics(call, stripes, first)


def group_norm(call: Call) -> Sequence[Paint]:
    """Group norm: several groups are removed as wholes, which is exact; with one group it is a layer norm
    over the channels.
    """
    x, weight, bias, groups = call.args[0], call.args[1], call.args[2], call.args[6]
    stripes, wholes = [], list[Stripe]()
    for stripe in call.paint(x):
        if stripe.axis != 1:
            call.pin([stripe], "group norm over a painted spatial axis")
            continue
        _affine(call, stripe, (weight, bias))
        block = stripe.labels.reshape(groups, -1)
        if groups > 1:
            call.canvas.couple(np.broadcast_to(block[:, :1], block.shape).reshape(-1), block.reshape(-1))
        else:
            call.averaged([stripe], "group norm across the channels")
        # zero minus a mean that is none
        bare = zero_or_unknown(stripe.dead) if groups > 1 else unknown_like(stripe.labels)
        stripes.append(Stripe(1, stripe.labels, _scaled(call, len(stripe.labels), weight, bias, bare)))
        wholes = [Stripe(1, block[:, 0], constant(0.0, groups))] if groups > 1 else []
    if not call.stripes(x, 1):
        call.pin([y for t in (weight, bias) for y in call.paint(t)], "normalises an unpainted tensor")
    return (tuple(stripes), *_statistics(call, wholes, 1))


def softmax(call: Call) -> Sequence[Paint]:
    """Softmax: across a painted axis it is inexact; elsewhere a removed slot is no known constant."""
    x = call.tensors[0]
    axis = call.args[1] % max(x.dim(), 1)
    call.averaged(call.stripes(x, axis), "softmax across the channels")
    return (tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in call.paint(x)),)


def rms_norm(call: Call) -> Sequence[Paint]:
    """_fused_rms_norm(x, normalized_shape, weight, eps)."""
    x, shape, weight = call.args[0], call.args[1], call.args[2]
    first = x.dim() - len(shape)
    stripes = []
    for stripe in call.paint(x):
        if stripe.axis >= first:
            _affine(call, stripe, (weight,), stripe.axis - first)
            call.averaged([stripe], "RMS norm across the channels")
        stripes.append(Stripe(stripe.axis, stripe.labels, zero_or_unknown(stripe.dead)))
    return _with_statistics(call, stripes, first)


_BATCH_NORMS = tuple(
    (
        "native_batch_norm cudnn_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "_batch_norm_no_update _batch_norm_with_update"
    ).split()
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(_BATCH_NORMS, batch_norm),
    "native_layer_norm": layer_norm,
    "native_group_norm": group_norm,
    **dict.fromkeys(("_softmax", "_safe_softmax", "_log_softmax"), softmax),
    "_fused_rms_norm": rms_norm,
}
