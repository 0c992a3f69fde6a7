"""Operators that put channels and places into one another: shuffles of groups and of pixels, windows as
columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, zero_or_unknown


def channel_shuffle(call: Call) -> Sequence[Paint]:
    """channel_shuffle(x, groups): slot j of every group is coupled."""
    x, groups = call.tensors[0], int(call.args[1])
    stripes = [stripe for stripe in call.paint(x) if stripe.axis != 1]
    for stripe in call.stripes(x, 1):
        block, dead = stripe.labels.reshape(groups, -1), stripe.dead.reshape(groups, -1)
        call.canvas.couple(np.broadcast_to(block[:1], block.shape).reshape(-1), block.reshape(-1))
        stripes.append(Stripe(1, block.T.reshape(-1), dead.T.reshape(-1)))
    return (tuple(stripes),)


def pixel_shuffle(call: Call) -> Sequence[Paint]:
    """pixel_shuffle and unshuffle: the r*r slots that make one image channel live and die together."""
    x, factor = call.tensors[0], int(call.args[1])
    axis = x.dim() - 3
    stripes = [stripe for stripe in call.paint(x) if stripe.axis < axis]
    call.pin([y for y in call.paint(x) if y.axis > axis], "a spatial axis")
    for stripe in call.stripes(x, axis):
        if call.operator == "pixel_shuffle":
            block, dead = stripe.labels.reshape(-1, factor * factor), stripe.dead.reshape(-1, factor * factor)
            call.canvas.couple(np.broadcast_to(block[:, :1], block.shape).reshape(-1), block.reshape(-1))
            stripes.append(
                Stripe(axis, block[:, 0], np.where((dead == dead[:, :1]).all(1), dead[:, 0], np.nan))
            )
        else:
            stripes.append(
                Stripe(
                    axis, np.repeat(stripe.labels, factor * factor), np.repeat(stripe.dead, factor * factor)
                )
            )
    return (tuple(stripes),)


def im2col(call: Call) -> Sequence[Paint]:
    """im2col: every channel becomes one slot per kernel position."""
    x = call.tensors[0]
    kernel: Any = int(np.prod(call.args[1]))
    axis = x.dim() - 3
    call.pin([y for y in call.paint(x) if y.axis > axis], "a spatial axis")
    found = call.stripes(x, axis)
    kept = [y for y in call.paint(x) if y.axis < axis]
    return (
        tuple(
            kept
            + [
                Stripe(axis, np.repeat(y.labels, kernel), zero_or_unknown(np.repeat(y.dead, kernel)))
                for y in found
            ]
        ),
    )


def col2im(call: Call) -> Sequence[Paint]:
    """col2im: the kernel positions of one channel are coupled."""
    x, out = call.tensors[0], call.outputs[0]
    axis = x.dim() - 2
    channels = out.shape[out.dim() - 3]
    stripes = [y for y in call.paint(x) if y.axis < axis]
    for y in call.stripes(x, axis):
        block, dead = y.labels.reshape(channels, -1), y.dead.reshape(channels, -1)
        call.canvas.couple(np.broadcast_to(block[:, :1], block.shape).reshape(-1), block.reshape(-1))
        stripes.append(Stripe(axis, block[:, 0], np.where((dead == 0).all(1), 0.0, np.nan)))
    return (tuple(stripes),)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), channel_shuffle),
    **dict.fromkeys(("pixel_shuffle", "pixel_unshuffle"), pixel_shuffle),
    "im2col": im2col,
    "col2im": col2im,
}
