"""Windows that slide along the channels: the channels stay apart, but each one reads its neighbours, which
are others once channels are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prunus.paint.painter import Call, Rule
from prunus.paint.records import Labels, Layer, Paint, constant, unknown_like


def windowed(
    call: Call, layer: Layer, length: int, extent: int, stride: int, padding: int, reason: str
) -> list[Layer]:
    """The layer of an axis along which windows were laid.

    Args:
        call: the operator.
        layer: the axis in front of it.
        length: of the axis behind it.
        extent: slots that a window spans, dilation included.
        stride: from window to window.
        padding: slots put on either side by the operator itself.
        reason: said where the axis does not keep its slots, so that they are pinned.
    """
    if length == 1 and len(layer.labels) == extent - 2 * padding:
        call.inexact([layer], "windows along the channels")
        return []
    kept = _kept(call, layer.labels, extent - 1 - 2 * padding) if stride == 1 else None
    if kept is None or len(kept) != length:
        call.pin([layer], reason)
        return []
    call.inexact([layer], "windows along the channels")
    return [Layer(layer.axis, kept, unknown_like(kept))]


def _kept(call: Call, labels: Labels, lost: int) -> Labels | None:
    """The slots that windows stand on: all of them, or those between what was padded before."""
    if lost == 0:
        return labels
    owned = np.flatnonzero(labels < call.painter.owned)
    if not len(owned) or len(labels) - (owned[-1] + 1 - owned[0]) != lost:
        return None
    return labels[owned[0] : owned[-1] + 1]


def unfold(call: Call) -> Sequence[Paint]:
    """Tensor.unfold(axis, size, step): a window axis is put behind."""
    x, out = call.tensors[0], call.outputs[0]
    axis, size, step = call.args[1] % max(x.dim(), 1), call.args[2], call.args[3]
    layers = [layer for layer in call.paint(x) if layer.axis != axis]
    for layer in call.layers(x, axis):
        layers.extend(
            windowed(call, layer, out.shape[axis], size, step, 0, "sliding windows along the channels")
        )
    return (tuple(layers),)


def padded_inside(call: Call, layer: Layer, amounts: Sequence[int]) -> Layer:
    """Reflection or replication padding of a painted axis: what is put on either side is made of other
    channels once some are gone.
    """
    call.inexact([layer], "padded along the channels with channels")
    labels = np.concatenate([call.painter.fresh(amounts[0]), layer.labels, call.painter.fresh(amounts[1])])
    return Layer(
        layer.axis,
        labels,
        np.concatenate([constant(np.nan, amounts[0]), layer.dead, constant(np.nan, amounts[1])]),
    )


RULES: dict[str, Rule] = {"unfold": unfold}
