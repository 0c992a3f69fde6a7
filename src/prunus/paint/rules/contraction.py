"""Contractions: convolution and matrix products. They couple both sides along what is contracted and carry
the rest to the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from torch import Tensor

from prunus.paint.call import Call, Rule
from prunus.paint.records import (
    Contraction,
    Labels,
    Leak,
    Paint,
    Stripe,
    is_zero,
    plus,
    unknown_like,
    zero_if_either,
    zero_or_unknown,
)
from prunus.paint.rules.pointwise import one_set
from prunus.paint.rules.windows import windowed


def contract(
    call: Call, first: Tensor, first_axis: int, second: Tensor, second_axis: int, foldable: bool = False
) -> None:
    """Couple two axes that are multiplied and summed over, and note what a removed slot would still
    contribute.
    """
    left, right = call.stripes(first, first_axis), call.stripes(second, second_axis)
    if len(left) == len(right) != 1 and all(np.array_equal(a.labels, b.labels) for a, b in zip(left, right)):
        return
    if not left or not right:
        call.pin([*left, *right], "meets the model's input or an unpainted tensor")
        return
    left, right = one_set(call, left), one_set(call, right)
    a, b = left[0], right[0]
    call.canvas.couple(a.labels, b.labels)
    _consume(call, first, a)
    _consume(call, second, b)
    _leak(call, first, a, second, b, foldable)


def _consume(call: Call, tensor: Tensor, stripe: Stripe) -> None:
    """Weights that are multiplied with channels and summed over read them; the mask need not zero them. Two
    parameters may not spare each other.
    """
    if call.canvas.is_fixed(tensor) and not all(map(call.canvas.is_fixed, call.tensors)):
        call.consumed.append(stripe.labels)


def _leak(call: Call, first: Tensor, a: Stripe, second: Tensor, b: Stripe, foldable: bool) -> None:
    fixed_a, fixed_b = call.canvas.is_fixed(first), call.canvas.is_fixed(second)
    if fixed_a == fixed_b:
        silent = zero_if_either(a.dead, b.dead)
        dead = unknown_like(a.labels)
    else:
        dead = silent = b.dead if fixed_a else a.dead
    if not is_zero(silent):
        weight = _zeroable(a) if fixed_a else _zeroable(b) if fixed_b else None
        call.canvas.leaks.append(
            Leak(a.labels, np.where(silent == 0, 0.0, dead), len(call.canvas.records), foldable, weight)
        )


def _zeroable(weight: Stripe) -> Labels | None:
    """The colours of a parameter that becomes zero unless it is spared."""
    return weight.labels if is_zero(weight.dead) else None


def carried(stripe: Stripe, axis: int, bias: list[Stripe], biased: bool) -> Stripe:
    """A stripe that the output inherits: 0 where the weight is zeroed, plus whatever the bias holds there."""
    dead = zero_or_unknown(stripe.dead)
    if biased:
        dead = plus(dead, bias[0].dead) if len(bias) == 1 else unknown_like(stripe.labels)
    return Stripe(axis, stripe.labels, dead)


def convolution(call: Call) -> Sequence[Paint]:
    """convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups), 1-D to
    3-D, with or without batch axis.
    """
    x, weight, bias = call.args[0], call.args[1], call.args[2]
    padding, transposed, groups = call.args[4], call.args[6], call.args[8]
    channels = x.dim() - (weight.dim() - 2) - 1
    out_labels = _grouped(call, x, weight, channels, transposed, groups, padding)
    bias_stripes = call.stripes(bias, 0)
    stripes = [stripe for stripe in call.paint(x) if stripe.axis < channels]
    for stripe in [stripe for stripe in call.paint(x) if stripe.axis > channels]:
        if _is_pointwise(call, stripe.axis - channels - 1):
            stripes.append(
                Stripe(
                    stripe.axis,
                    stripe.labels,
                    zero_or_unknown(stripe.dead) if bias is None else unknown_like(stripe.labels),
                )
            )
        else:
            stripes.extend(_windows(call, stripe, stripe.axis - channels - 1))
    call.pin([stripe for stripe in call.paint(weight) if stripe.axis > 1], "kernel positions")
    for stripe in out_labels:
        if len(bias_stripes) == 1:
            call.canvas.couple(stripe.labels, bias_stripes[0].labels)
        elif bias is not None:
            call.pin([stripe, *bias_stripes], "the bias is unpainted")
        stripes.append(carried(stripe, channels, bias_stripes, bias is not None))
    if not out_labels:
        call.pin(bias_stripes, "the weight is unpainted")
    _count_convolution(
        call, x, weight, channels, transposed, [stripe.axis for stripe in stripes if stripe.axis > channels]
    )
    return (tuple(stripes),)


def _is_pointwise(call: Call, position: int) -> bool:
    """Whether a convolution leaves the slots of a spatial axis apart, so that channels may lie along it."""
    weight, stride, padding, transposed = call.args[1], call.args[3], call.args[4], call.args[6]
    return bool(
        not transposed
        and weight.shape[2 + position] == 1
        and stride[position] == 1
        and padding[position] == 0
    )


def _windows(call: Call, stripe: Stripe, position: int) -> list[Stripe]:
    """A convolution that slides along channels."""
    weight, stride, padding, dilation, transposed = (
        call.args[1],
        call.args[3],
        call.args[4],
        call.args[5],
        call.args[6],
    )
    extent = dilation[position] * (weight.shape[2 + position] - 1) + 1
    length, reason = call.outputs[0].shape[stripe.axis], "a spatial axis of a convolution"
    spans_all = extent == len(stripe.labels) + 2 * padding[position]  # and fits nowhere once one is gone
    if transposed or spans_all:
        call.pin([stripe], reason if transposed else "a kernel that spans all channels")
        return []
    return windowed(call, stripe, length, extent, stride[position], padding[position], reason)


def _grouped(
    call: Call,
    x: Tensor,
    weight: Tensor,
    channels: int,
    transposed: bool,
    groups: int,
    padding: Sequence[int],
) -> list[Stripe]:
    """Couple inputs with weights; the stripes of the output channels."""
    inner, outer = (0, 1) if transposed else (1, 0)
    if groups == 1:
        foldable = not transposed and (not any(padding) or prod(weight.shape[2:]) == 1)
        contract(call, x, channels, weight, inner, foldable)
        return [stripe.on(channels) for stripe in call.stripes(weight, outer)]
    inputs, per_group = call.stripes(x, channels), x.shape[channels] // groups
    if per_group == 1:
        return _depthwise(call, inputs, weight, transposed, groups)
    for stripe in call.stripes(weight, 0):
        _tie_groups(call, stripe.labels, groups)
    if transposed:
        contract(call, x, channels, weight, 0)
        return [
            Stripe(channels, np.tile(y.labels, groups), np.tile(y.dead, groups))
            for y in call.stripes(weight, 1)
        ]
    reads = call.stripes(weight, 1)
    if len(inputs) == 1 and len(reads) == 1:
        call.canvas.couple(
            inputs[0].labels.reshape(groups, -1), np.broadcast_to(reads[0].labels, (groups, per_group))
        )
        _consume(call, weight, reads[0])
        if not is_zero(inputs[0].dead):
            weights = _zeroable(reads[0]) if call.canvas.is_fixed(weight) else None
            call.canvas.leaks.append(
                Leak(inputs[0].labels, inputs[0].dead, len(call.canvas.records), False, weights)
            )
    else:
        call.pin([*inputs, *reads], "meets the model's input or an unpainted tensor")
    return call.stripes(weight, 0)


def _tie_groups(call: Call, labels: Labels, groups: int) -> None:
    """Slot j of every group lives and dies together, so that groups stay equal."""
    block = labels.reshape(groups, -1)
    call.canvas.couple(np.broadcast_to(block[:1], block.shape).reshape(-1), block.reshape(-1))


def _depthwise(
    call: Call, inputs: list[Stripe], weight: Tensor, transposed: bool, groups: int
) -> list[Stripe]:
    """One input channel per group: input and output channels are the same channels; a removed input leaves
    nothing but what its filter makes.
    """
    outputs = call.stripes(weight, 0)
    if not inputs and weight.dim() > 1:
        return _fanned_out(call, outputs, weight, transposed, groups)
    if len(inputs) != 1 or len(outputs) != 1:
        widths = call.stripes(weight, 1) if transposed else []  # several outputs of one filter
        call.pin([*inputs, *outputs, *widths], "meets the model's input or an unpainted tensor")
        return []
    times = (weight.shape[1] if transposed else weight.shape[0] // groups) if weight.dim() > 1 else 1
    if transposed:
        call.canvas.couple(inputs[0].labels, outputs[0].labels)
        call.pin(call.stripes(weight, 1), "several outputs of one depthwise filter")
        return [
            Stripe(
                0,
                np.repeat(outputs[0].labels, times),
                np.repeat(zero_if_either(inputs[0].dead, outputs[0].dead), times),
            )
        ]
    read = (
        inputs[0]
        if times == 1
        else Stripe(0, np.repeat(inputs[0].labels, times), np.repeat(inputs[0].dead, times))
    )
    call.canvas.couple(read.labels, outputs[0].labels)
    return [Stripe(0, outputs[0].labels, zero_if_either(read.dead, outputs[0].dead))]


def _fanned_out(
    call: Call, outputs: list[Stripe], weight: Tensor, transposed: bool, groups: int
) -> list[Stripe]:
    """Several outputs of every input, all of which stay: output j of each of them lives and dies together."""
    if transposed:
        call.pin(outputs, "meets the model's input or an unpainted tensor")
        return [
            Stripe(0, np.tile(y.labels, groups), np.tile(y.dead, groups)) for y in call.stripes(weight, 1)
        ]
    if weight.shape[0] == groups:
        call.pin(outputs, "meets the model's input or an unpainted tensor")
        return []
    for stripe in outputs:
        _tie_groups(call, stripe.labels, groups)
    return outputs


def _count_convolution(
    call: Call, x: Tensor, weight: Tensor, channels: int, transposed: bool, painted: Sequence[int]
) -> None:
    pixels = x if transposed else call.outputs[0]
    painted = [axis for axis in painted if pixels.shape[axis] == x.shape[axis]]
    constant = prod(
        n for axis, n in enumerate(pixels.shape) if axis > channels and axis not in painted
    ) * prod(pixels.shape[:channels])
    _count(
        call, constant * prod(weight.shape[2:]), [(weight, 0), (weight, 1), *((x, axis) for axis in painted)]
    )


def _count(call: Call, constant: int, axes: Sequence[tuple[Tensor, int]]) -> None:
    """Multiply-accumulates: a constant times the lengths of some axes, painted ones by their labels."""
    factors = []
    for tensor, axis in axes:
        stripes = call.stripes(tensor, axis)
        if len(stripes) == 1:
            factors.append(stripes[0].labels)
        else:
            constant *= tensor.shape[axis]
    call.canvas.contractions.append(Contraction(len(call.canvas.records), constant, tuple(factors)))


_ADDED = ("addmm", "baddbmm", "_sparse_addmm")


def product(call: Call) -> Sequence[Paint]:
    """mm and bmm, and with an added term addmm and baddbmm: rows of the first, columns of the second."""
    added = call.args[0] if call.operator.startswith(_ADDED) else None
    first, second = call.args[1:3] if added is not None else call.args[:2]
    rows = first.dim() - 2
    contract(call, first, rows + 1, second, rows, foldable=True)
    stripes: list[Stripe] = []
    if rows == 1:
        stripes.extend(_batch(call, first, second, added is not None))
    for tensor, axis in ((first, rows), (second, rows + 1)):
        for stripe in call.stripes(tensor, axis):
            shift = (added.dim() - rows - 2) if added is not None else 0
            bias = (
                call.stripes(added, axis + shift)
                if added is not None and added.dim() > rows + 1 - axis
                else []
            )
            bias = bias if added is not None and axis + shift >= 0 and added.shape[axis + shift] > 1 else []
            if len(bias) == 1:
                call.canvas.couple(stripe.labels, bias[0].labels)
            elif added is not None and axis + shift >= 0 and added.shape[axis + shift] > 1:
                call.pin([stripe, *bias], "the bias is unpainted")
            stripes.append(carried(stripe, axis, bias, added is not None))
    pairs = [(first, rows), (first, rows + 1), (second, rows + 1)]
    _count(call, 1, pairs if rows == 0 else [(first, 0), *pairs])
    return (tuple(stripes),)


def _batch(call: Call, first: Tensor, second: Tensor, added: bool) -> list[Stripe]:
    """Batch axes of bmm meet slot by slot."""
    left, right = call.stripes(first, 0), call.stripes(second, 0)
    if len(left) == len(right) == 1:
        call.canvas.couple(left[0].labels, right[0].labels)
        dead = unknown_like(left[0].labels) if added else zero_if_either(left[0].dead, right[0].dead)
        return [Stripe(0, left[0].labels, dead)]
    if left or right:
        call.pin([*left, *right], "meets an unpainted batch axis")
    return []


def vector_product(call: Call) -> Sequence[Paint]:
    """mv, dot and vdot: contractions with a vector."""
    first, second = call.args[:2]
    contract(call, first, first.dim() - 1, second, 0)
    return (
        tuple(carried(stripe, 0, [], False) for stripe in call.paint(first) if stripe.axis < first.dim() - 1),
    )


RULES: dict[str, Rule] = {
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), convolution),
    **dict.fromkeys(("mm", "bmm", *_ADDED), product),
    **dict.fromkeys(("mv", "dot", "vdot"), vector_product),
}
