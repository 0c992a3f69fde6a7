"""Windows that slide along the channels: the channels stay apart, but each one reads its neighbours, which
are others once channels are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prunus.paint.call import Call, Rule
from prunus.paint.records import Labels, Paint, Stripe, constant, unknown_like


def windowed(
    call: Call, stripe: Stripe, length: int, extent: int, stride: int, padding: int, reason: str
) -> list[Stripe]:
    """The stripe of an axis along which windows were laid.

    Args:
        call: the operator.
        stripe: the axis in front of it.
        length: of the axis behind it.
        extent: slots that a window spans, dilation included.
        stride: from window to window.
        padding: slots put on either side by the operator itself.
        reason: said where the axis does not keep its slots, so that they are pinned.
    """
    if length == 1 and len(stripe.labels) == extent - 2 * padding:
        call.inexact([stripe], "windows along the channels")
        return []
    kept = _kept(call, stripe.labels, extent - 1 - 2 * padding) if stride == 1 else None
    if kept is None or len(kept) != length:
        call.pin([stripe], reason)
        return []
    call.inexact([stripe], "windows along the channels")
    return [Stripe(stripe.axis, kept, unknown_like(kept))]


def _kept(call: Call, labels: Labels, lost: int) -> Labels | None:
    """The slots that windows stand on: all of them, or those between what was padded before."""
    if lost == 0:
        return labels
    owned = np.flatnonzero(labels < call.canvas.owned)
    if not len(owned) or len(labels) - (owned[-1] + 1 - owned[0]) != lost:
        return None
    return labels[owned[0] : owned[-1] + 1]


def unfold(call: Call) -> Sequence[Paint]:
    """Tensor.unfold(axis, size, step): a window axis is put behind."""
    x, out = call.tensors[0], call.outputs[0]
    axis, size, step = call.args[1] % max(x.dim(), 1), call.args[2], call.args[3]
    stripes = [stripe for stripe in call.paint(x) if stripe.axis != axis]
    for stripe in call.stripes(x, axis):
        stripes.extend(
            windowed(call, stripe, out.shape[axis], size, step, 0, "sliding windows along the channels")
        )
    return (tuple(stripes),)


def padded_inside(call: Call, stripe: Stripe, amounts: Sequence[int]) -> Stripe:
    """Reflection or replication padding of a painted axis: what is put on either side is made of other
    channels once some are gone.
    """
    call.inexact([stripe], "padded along the channels with channels")
    labels = np.concatenate([call.canvas.fresh(amounts[0]), stripe.labels, call.canvas.fresh(amounts[1])])
    return Stripe(
        stripe.axis,
        labels,
        np.concatenate([constant(np.nan, amounts[0]), stripe.dead, constant(np.nan, amounts[1])]),
    )


RULES: dict[str, Rule] = {"unfold": unfold}
