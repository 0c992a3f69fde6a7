"""Fake quantisation: rounding leaves channels apart, and zero at zero. Scales and ranges per channel go with
the channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, is_zero, zero_or_unknown


def _rounded(
    call: Call, axis: int | None, vectors: Sequence[Tensor], scale: Tensor | None
) -> Sequence[Paint]:
    """The stripes of what is rounded; those along `axis` are coupled with vectors that hold one number per
    channel.
    """
    stripes = []
    for stripe in call.paint(call.args[0]):
        if stripe.axis == axis:
            for vector in vectors:
                for other in call.stripes(vector, 0):
                    call.canvas.couple(stripe.labels, other.labels)
                    if vector is scale and is_zero(other.dead):
                        call.canvas.hazard(vector, stripe.labels, call.operator)
        stripes.append(Stripe(stripe.axis, stripe.labels, zero_or_unknown(stripe.dead)))
    return (tuple(stripes),) * len(call.outputs)


def per_channel(call: Call) -> Sequence[Paint]:
    """fake_quantize_per_channel_affine(x, scale, zero_point, axis, …)."""
    scale, zero_point, axis = call.args[1:4]
    return _rounded(call, axis % call.args[0].dim(), (scale, zero_point), scale)


def per_tensor(call: Call) -> Sequence[Paint]:
    """fake_quantize_per_tensor_affine(x, scale, zero_point, …)."""
    return _rounded(call, None, (), None)


def observed(call: Call) -> Sequence[Paint]:
    """_fused_moving_avg_obs_fq_helper(x, observer_on, fake_quant_on, min, max, scale, zero_point, …, axis,
    per_row, symmetric).
    """
    x, observer_on, vectors = call.args[0], call.canvas.value_of(call.args[1]), call.args[3:7]
    axis = call.args[10] % x.dim() if call.arg(11, "per_row_fake_quant", False) else None
    if observer_on is None or bool(observer_on.any()):
        across = [stripe for stripe in call.paint(x) if stripe.axis != axis]
        call.inexact(across, "ranges measured across the channels")
    return _rounded(call, axis, vectors, vectors[2])


RULES: dict[str, Rule] = {
    **dict.fromkeys(("_fused_moving_avg_obs_fq_helper", "fused_moving_avg_obs_fake_quant"), observed),
    **dict.fromkeys(
        (
            "fake_quantize_per_channel_affine",
            "fake_quantize_per_channel_affine_cachemask",
            "_fake_quantize_learnable_per_channel_affine",
        ),
        per_channel,
    ),
    **dict.fromkeys(
        (
            "fake_quantize_per_tensor_affine",
            "fake_quantize_per_tensor_affine_cachemask",
            "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams",
            "_fake_quantize_learnable_per_tensor_affine",
        ),
        per_tensor,
    ),
}
