"""Pooling, resizing and spatial padding work inside a channel: channel stripes pass; along a painted spatial
axis neighbours are read.
"""

from __future__ import annotations

from collections.abc import Sequence

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, unknown_like, zero_or_unknown
from prunus.paint.rules.windows import padded_inside, windowed

# How many trailing axes an operator works on, read off its name.
_RANKS = {"1d": 1, "2d": 2, "3d": 3}
_CONSTANT_SAFE = ("max_pool", "adaptive", "upsample", "reflection_pad", "replication_pad", "_upsample")


def spatial(call: Call) -> Sequence[Paint]:
    """max_pool, avg_pool, adaptive pools, upsampling, reflection and replication padding, in one to three
    dimensions.
    """
    x = call.tensors[0]
    rank = next((n for text, n in _RANKS.items() if text in call.operator), 2)
    first = x.dim() - rank
    safe = call.operator.startswith(_CONSTANT_SAFE)
    stripes: list[Stripe] = []
    for stripe in call.paint(x):
        if stripe.axis < first:
            # average pooling counts the zero padding, so that a constant other than zero does not stay one
            stripes.append(
                stripe if safe else Stripe(stripe.axis, stripe.labels, zero_or_unknown(stripe.dead))
            )
        else:
            stripes.extend(_along(call, stripe, stripe.axis - first, rank))
    unknown = tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in stripes)
    return (
        tuple(stripes),
        *(unknown for _ in call.outputs[1:]),
    )  # places of largest values are no known constants


def _along(call: Call, stripe: Stripe, position: int, rank: int) -> list[Stripe]:
    """An axis of channels among the spatial ones: resizing leaves it alone where it keeps its length, pooling
    and padding read neighbours.
    """
    length = call.outputs[0].shape[stripe.axis]
    reason = (
        "a spatial axis" if call.canvas.is_fixed(call.tensors[0]) else f"{call.operator} along the channels"
    )
    if "pad" in call.operator:
        amounts = list(call.args[1])[2 * (rank - 1 - position) :][:2]
        if min(amounts) >= 0:
            return [padded_inside(call, stripe, amounts)] if any(amounts) else [stripe]
    elif call.operator.startswith(_RESIZES) or "adaptive" in call.operator:
        if length == len(stripe.labels):
            return [stripe]
        if length == 1 and "adaptive" in call.operator:
            call.inexact([stripe], f"{call.operator} across the channels")
            return []
    elif call.operator.startswith(_POOLS):
        kernel = _of(call, 1, "kernel_size", position, 1)
        stride = _of(call, 2, "stride", position, kernel)
        dilation = _of(call, 4, "dilation", position, 1) if call.operator.startswith("max") else 1
        extent = dilation * (kernel - 1) + 1
        return windowed(
            call,
            stripe,
            length,
            extent,
            stride if length > 1 else 1,
            _of(call, 3, "padding", position, 0),
            reason,
        )
    call.pin([stripe], reason)
    return []


def _of(call: Call, index: int, name: str, position: int, default: int) -> int:
    """A number per spatial axis, one for all, or none."""
    given = call.arg(index, name)
    values = list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
    return int(values[position % len(values)]) if values else default


def grid_sample(call: Call) -> Sequence[Paint]:
    """grid_sampler(x, grid): channels pass; the grid's own stripes are pinned."""
    x = call.tensors[0]
    call.pin([y for y in call.paint(x) if y.axis > 1], "a spatial axis")
    for tensor in call.tensors[1:]:
        call.pin(call.paint(tensor), "coordinates of a sampling grid")
    return (tuple(Stripe(y.axis, y.labels, zero_or_unknown(y.dead)) for y in call.paint(x) if y.axis <= 1),)


_POOLS = (
    *(
        "max_pool2d_with_indices max_pool3d_with_indices max_pool1d max_pool2d max_pool3d avg_pool1d "
        "avg_pool2d avg_pool3d"
    ).split(),
    *(
        "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
        "adaptive_avg_pool3d adaptive_max_pool1d"
    ).split(),
    *(
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
        "max_pool1d_with_indices",
        "mkldnn_max_pool2d",
    ),
)
_RESIZES = tuple(
    prefix + name
    for prefix in ("", "_")
    for name in (
        *(
            "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d "
            "upsample_bilinear2d_aa upsample_bicubic2d"
        ).split(),
        *(
            "upsample_bicubic2d_aa upsample_linear1d upsample_trilinear3d upsample_nearest_exact1d "
            "upsample_nearest_exact2d"
        ).split(),
    )
)
_PADS = tuple(
    (
        "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
        "replication_pad3d"
    ).split()
)
RULES: dict[str, Rule] = {
    **dict.fromkeys((*_POOLS, *_RESIZES, *_PADS), spatial),
    "grid_sampler_2d": grid_sample,
    "grid_sampler_3d": grid_sample,
}
