"""Operators that put tensors together or take them apart: concatenation, stacking, splitting, slicing,
selecting, padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from torch import Tensor

from prunus.paint.call import Call, Rule
from prunus.paint.records import ANCHOR, Paint, Stripe, Values, constant, joined
from prunus.paint.rules.pointwise import largest_set, meet, one_set


def cat(call: Call) -> Sequence[Paint]:
    """Concatenation: labels follow one another along the axis, and meet along all others."""
    out = call.outputs[0]
    axis = call.arg(1, "dim", 0) % out.dim()
    parts = [t for t in call.args[0] if not (t.dim() == 1 and t.shape[0] == 0)]
    stripes = _meet_elsewhere(call, parts, axis)
    if any(call.stripes(t, axis) for t in parts):
        stripes.extend(_concatenate(call, parts, axis))
    return (tuple(stripes),)


def _meet_elsewhere(call: Call, parts: Sequence[Tensor], axis: int) -> list[Stripe]:
    """Couple concatenated tensors along the axes that they share."""
    stripes = []
    part = Call(call.canvas, "cat", call.func, (), {}, call.outputs, tuple(parts))
    for other in range(parts[0].dim()):
        if other != axis:
            found = meet(part, other, parts[0].dim(), evaluate=False)
            if len(parts) > 1 and found:
                sets = [call.stripes(t, other) for t in parts]
                deads = [
                    [(one[i] if len(one) == len(found) else largest_set(one)).dead for one in sets]
                    for i in range(len(found))
                ]
                found = [Stripe(other, x.labels, _where_equal(held)) for x, held in zip(found, deads)]
            elif found:
                found = call.stripes(parts[0], other)
            stripes.extend(found)
    return stripes


def _where_equal(deads: Sequence[Values]) -> Values:
    """The value that all agree on, else unknown."""
    if all(dead is deads[0] for dead in deads):
        return deads[0]
    return np.where(np.all([dead == deads[0] for dead in deads], axis=0), deads[0], np.nan)


def _concatenate(call: Call, parts: Sequence[Tensor], axis: int) -> list[Stripe]:
    labels, dead = [], []
    for tensor in parts:
        found = one_set(call, call.stripes(tensor, axis))
        if found:
            labels.append(found[0].labels)
            dead.append(found[0].dead)
            continue
        labels.append(
            call.canvas.fresh(1) if tensor.shape[axis] == 1 else np.full(tensor.shape[axis], ANCHOR)
        )
        dead.append(constant(math.nan, tensor.shape[axis]))
        if tensor.shape[axis] == 1:
            call.canvas.couple(labels[-1], np.array([ANCHOR]))
    return [Stripe(axis, np.concatenate(labels), joined(dead))]


def stack(call: Call) -> Sequence[Paint]:
    """Stacking: a new unpainted axis; the tensors meet along all others."""
    out = call.outputs[0]
    axis = call.arg(1, "dim", 0) % out.dim()
    stripes = _meet_elsewhere(call, call.args[0], -1)
    return (tuple(x.on(x.axis + (x.axis >= axis)) for x in stripes),)


def split(call: Call) -> Sequence[Paint]:
    """split into equal pieces: slot j of every piece is coupled, so that the pieces stay equal."""
    x = call.tensors[0]
    axis = call.arg(2, "dim", 0) % x.dim()
    sizes = [t.shape[axis] for t in call.outputs]
    for stripe in call.stripes(x, axis):
        whole = len(sizes) - (sizes[-1] != sizes[0])
        if whole > 1:
            block = stripe.labels[: whole * sizes[0]].reshape(whole, sizes[0])
            call.canvas.couple(np.broadcast_to(block[:1], block.shape).reshape(-1), block.reshape(-1))
        if sizes[-1] != sizes[0]:
            call.pin([stripe], "split into pieces of unequal length")
    return _pieces(call, x, axis, sizes)


def split_with_sizes(call: Call) -> Sequence[Paint]:
    """split with a list of sizes: each piece takes its part of the labels."""
    x = call.tensors[0]
    axis = call.arg(2, "dim", 0) % x.dim()
    return _pieces(call, x, axis, [t.shape[axis] for t in call.outputs])


def _pieces(call: Call, x: Tensor, axis: int, sizes: Sequence[int]) -> Sequence[Paint]:
    ends = list(accumulate(sizes))
    return tuple(
        tuple(
            stripe.take(slice(end - size, end)) if stripe.axis == axis else stripe for stripe in call.paint(x)
        )
        for size, end in zip(sizes, ends)
    )


def slice_(call: Call) -> Sequence[Paint]:
    """Slicing takes a part of the labels; a single slot is pinned, and with a step whole strides go."""
    x = call.tensors[0]
    axis = call.arg(1, "dim", 0) % x.dim()
    start, end, step = call.arg(2, "start") or 0, call.arg(3, "end"), call.arg(4, "step", 1)
    if step != 1:
        _keep_strides(call, call.stripes(x, axis), start, x.shape[axis] if end is None else end, step)
    if call.outputs[0].shape[axis] == 1:
        keep_place(call, call.stripes(x, axis), int(start))
    index = slice(start, end, step)
    return (tuple(stripe.take(index) if stripe.axis == axis else stripe for stripe in call.paint(x)),)


def _keep_strides(call: Call, stripes: Sequence[Stripe], start: int, end: int, step: int) -> None:
    """A slice that begins in the first stride and goes on to the end takes the same slots of every stride, as
    long as strides stay whole; any other is pinned.
    """
    for stripe in stripes:
        labels = stripe.labels
        if 0 <= start < step and end >= len(labels):
            firsts = np.arange(len(labels)) // step * step
            call.canvas.couple(labels[firsts], labels)
        else:
            call.pin([stripe], "sliced with a step")


def select(call: Call) -> Sequence[Paint]:
    """Selecting one slot of a painted axis pins that slot; the axis disappears."""
    x = call.tensors[0]
    axis = call.arg(1, "dim", 0) % x.dim()
    keep_place(call, call.stripes(x, axis), int(call.arg(2, "index")))
    return (_without(call.paint(x), axis),)


def keep_place(call: Call, stripes: Sequence[Stripe], index: int) -> None:
    """Pin a slot that is selected by its number, and those that the number counts: the ones in front, or
    behind where it counts from the end.
    """
    for stripe in stripes:
        counted = stripe.labels[: index + 1] if index >= 0 else stripe.labels[index:]
        call.canvas.pin(counted, "single slots are selected", call.operator)


def unbind(call: Call) -> Sequence[Paint]:
    """Taking a painted axis apart pins it; the axis disappears."""
    x = call.tensors[0]
    axis = call.arg(1, "dim", 0) % x.dim()
    call.pin(call.stripes(x, axis), "single slots are selected")
    return (_without(call.paint(x), axis),) * len(call.outputs)


def _without(paint: Paint, axis: int) -> Paint:
    return tuple(stripe.on(stripe.axis - (stripe.axis > axis)) for stripe in paint if stripe.axis != axis)


def pad(call: Call) -> Sequence[Paint]:
    """Constant padding: along a painted axis the new slots get colours of their own; elsewhere it only
    changes what a removed slot holds.
    """
    x, pads = call.tensors[0], list(call.args[1])
    value = float(call.arg(2, "value", 0) or 0)
    amounts = {x.dim() - 1 - i // 2: (pads[i], pads[i + 1]) for i in range(0, len(pads), 2)}
    stripes = []
    for stripe in call.paint(x):
        before, after = amounts.get(stripe.axis, (0, 0))
        stripes.append(_pad_axis(call, stripe, before, after, value))
        around = any(p != (0, 0) for a, p in amounts.items() if a != stripe.axis)
        # padding with -inf is what max pooling does by itself, and only a maximum makes sense of it, by
        # ignoring it
        if around and value != -np.inf:
            stripes[-1] = Stripe(
                stripe.axis, stripes[-1].labels, np.where(stripes[-1].dead == value, value, np.nan)
            )
    return (tuple(stripes),)


def _pad_axis(call: Call, stripe: Stripe, before: int, after: int, value: float) -> Stripe:
    if not before and not after:
        return stripe
    start, end = max(0, -before), len(stripe.labels) - max(0, -after)
    head, tail = call.canvas.fresh(max(0, before)), call.canvas.fresh(max(0, after))
    labels = np.concatenate([head, stripe.labels[start:end], tail])
    dead = np.concatenate([np.full(len(head), value), stripe.dead[start:end], np.full(len(tail), value)])
    return Stripe(stripe.axis, labels, dead)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("split", "unsafe_split", "chunk", "unsafe_chunk"), split),
    **dict.fromkeys(("split_with_sizes", "unsafe_split_with_sizes"), split_with_sizes),
    "cat": cat,
    "stack": stack,
    "slice": slice_,
    "select": select,
    "unbind": unbind,
    "constant_pad_nd": pad,
}
