"""Operators that only move slots. Most are the same operator, run on the labels instead of the values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from prunus.paint.call import Call, Rule
from prunus.paint.records import Labels, Paint, Stripe, Values, constant, is_zero, uniform, zero_or_unknown


def keep(call: Call) -> Sequence[Paint]:
    """The output has the stripes of the first tensor: clone, detach, dropout, type conversion, zeros_like."""
    return (call.paint(call.tensors[0]),) * len(call.outputs)


def converted(call: Call) -> Sequence[Paint]:
    """Another type of numbers: what a removed slot holds is converted with the rest, so rounded, cut off or
    wrapped around. A plain number, which vmap makes a tensor of, has no slots.
    """
    if not call.tensors:
        return ((),)
    before, after = call.tensors[0].dtype, call.outputs[0].dtype
    paint = call.paint(call.tensors[0])
    if _holds(after, before):
        return (paint,)
    return (tuple(Stripe(y.axis, y.labels, _converted(y.dead, before, after)) for y in paint),)


def _holds(kind: torch.dtype, numbers: torch.dtype) -> bool:
    """Whether a type has all numbers of another one."""
    return (kind.is_floating_point or kind.is_complex) and torch.promote_types(kind, numbers) == kind


def _converted(dead: Values, before: torch.dtype, after: torch.dtype) -> Values:
    """By torch itself, as far as that says what becomes of a number."""
    if is_zero(dead) or before.is_complex:
        return zero_or_unknown(dead)
    value = uniform(dead)
    given = dead.copy() if value is None else dead[:1].copy()
    if not before.is_floating_point or after.is_floating_point or after.is_complex or after == torch.bool:
        known = ~np.isnan(given)
    else:  # processors do not agree on numbers that are out of range
        known = (given > torch.iinfo(after).min - 1) & (given < torch.iinfo(after).max + 1)
    with _disable_current_modes():
        turned = torch.from_numpy(np.where(known, given, 0.0)).to(before).to(after).to(torch.complex128).real
    found = np.where(known, turned.numpy(), np.nan)
    return found if value is None else constant(float(found[0]), len(dead))


def bits(call: Call) -> Sequence[Paint]:
    """view as another type: the same bits are other numbers, but for zero; numbers of another length share
    out the last axis.
    """
    x, out = call.tensors[0], call.outputs[0]
    last = [y for y in call.paint(x) if y.axis == x.dim() - 1 and x.shape[-1] != out.shape[-1]]
    call.pin(last, "the channels are read as numbers of another length")
    return (
        tuple(
            Stripe(y.axis, y.labels, zero_or_unknown(y.dead))
            for y in call.paint(x)
            if all(y is not one for one in last)
        ),
    )


def filled(call: Call) -> Sequence[Paint]:
    """A tensor of the same shape with contents of its own: zeros_like, ones_like, full_like, empty_like."""
    value = {"zeros_like": 0.0, "ones_like": 1.0}.get(call.operator, _number(call))
    return (
        tuple(Stripe(x.axis, x.labels, constant(value, len(x.labels))) for x in call.paint(call.tensors[0])),
    )


def new(call: Call) -> Sequence[Paint]:
    """A constant with a size of its own (new_zeros and the like): fresh colours that shrink with what they
    meet.
    """
    value = {"new_zeros": 0.0, "new_ones": 1.0}.get(call.operator, _number(call))
    sizes = call.outputs[0].shape
    return (tuple(Stripe(a, call.canvas.fresh(n), constant(value, n)) for a, n in enumerate(sizes) if n > 1),)


def _number(call: Call) -> float:
    """What full_like and new_full fill with, if it is one known number."""
    position = {"full_like": 1, "new_full": 2}.get(call.operator)
    value = None if position is None else call.arg(position, "fill_value")
    return float(value) if isinstance(value, (int, float)) else math.nan


def permute(call: Call) -> Sequence[Paint]:
    """permute, transpose, t: stripes follow their axis."""
    x = call.tensors[0]
    rank = x.dim()
    if call.operator.rstrip("_") == "permute":
        order = [d % rank for d in call.args[1]]
    else:
        order = list(range(rank))
        pair = (
            (0, 1)
            if call.operator.rstrip("_") == "t"
            else (call.args[1] % max(rank, 1), call.args[2] % max(rank, 1))
        )
        if rank > 1:
            order[pair[0]], order[pair[1]] = order[pair[1]], order[pair[0]]
    return (tuple(stripe.on(order.index(stripe.axis)) for stripe in call.paint(x)),)


def reshape(call: Call) -> Sequence[Paint]:
    """view, reshape, flatten, squeeze, unsqueeze: found from the two shapes alone."""
    x, out = call.tensors[0], call.outputs[0]
    if x.dtype != out.dtype:
        return bits(call)
    axes = [found.axis for found in call.paint(x)]
    stripes = [
        stripe
        for found in call.paint(x)
        for stripe in _regroup(call, found, tuple(x.shape), tuple(out.shape), axes.count(found.axis) > 1)
    ]
    return (tuple(_owned(call, stripes)),)


def _owned(call: Call, stripes: Sequence[Stripe]) -> list[Stripe]:
    """Where axes were joined, channels of parameters go before copies that the forward made, as of a batch,
    and inner copies before outer ones.
    """
    first: dict[int, Stripe] = {}
    result: list[Stripe] = []
    for stripe in (
        sorted(stripes, key=lambda y: bool(y.labels.min() >= call.canvas.owned))
        if len(stripes) > 1
        else stripes
    ):
        if stripe.axis in first and stripe.labels.min() >= call.canvas.owned:
            copies, other = stripe, first[stripe.axis]
            if (
                other.labels.min() >= call.canvas.owned
            ):  # the stripes of inner axes are behind those of outer ones
                result[result.index(other)] = stripe
                copies, first[stripe.axis] = other, stripe
            call.pin([copies], "copies share an axis with channels")
            continue
        first.setdefault(stripe.axis, stripe)
        result.append(stripe)
    return result


def _blocks(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[range, range]]:
    """Split two shapes of equal product into the shortest runs of axes whose products agree."""
    result: list[tuple[range, range]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        i0, j0 = i, j
        a = b = 1
        if i < len(old):
            a, i = old[i], i + 1
        if j < len(new):
            b, j = new[j], j + 1
        while a != b:
            if a < b:
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        result.append((range(i0, i), range(j0, j)))
    return result


def _regroup(
    call: Call, stripe: Stripe, old: tuple[int, ...], new: tuple[int, ...], shared: bool
) -> list[Stripe]:
    """The stripes that one becomes; `shared`: other sets of channels lie along its axis."""
    if 0 in old:
        return []
    kept_old = [i for i, n in enumerate(old) if n != 1]
    kept_new = [j for j, n in enumerate(new) if n != 1]
    for source, target in _blocks(tuple(old[i] for i in kept_old), tuple(new[j] for j in kept_new)):
        axes = [kept_old[i] for i in source]
        if stripe.axis in axes:
            targets = [kept_new[j] for j in target]
            if len(axes) == len(targets) == 1:
                return [stripe.on(targets[0])]
            shape = [old[a] if a == stripe.axis else 1 for a in axes]
            full, wanted = [old[a] for a in axes], [new[a] for a in targets]
            labels = np.broadcast_to(stripe.labels.reshape(shape), full).reshape(wanted)
            dead = np.broadcast_to(stripe.dead.reshape(shape), full).reshape(wanted)
            own = _parts_of_it_alone(full, wanted, axes.index(stripe.axis))
            if own is None:
                call.pin([stripe], "a reshape that mixes channels with other axes")
                return []
            if shared:
                own = _with_outer_piece(own, full, wanted, axes.index(stripe.axis), _varying(labels))
            return settle(call, labels, dead, targets, own)
    return []


def _parts_of_it_alone(old: Sequence[int], new: Sequence[int], axis: int) -> list[int] | None:
    """The new axes among which a reshape of one block may share out an old axis; None where who meets whom
    depends on the other sizes.

    (N, H * W, C) -> (N, C, H, W) without a transpose cuts C into pieces as long as H * W and W happen to be.
    Where an axis is cut on purpose, as into heads, some new axis holds nothing but a piece of it; one that is
    joined whole with others is held by one new axis.
    """
    inner = math.prod(old[axis + 1 :])
    outer = inner * old[axis]
    spans = [(math.prod(new[j + 1 :]), math.prod(new[j:])) for j in range(len(new))]
    ends = sorted({inner, outer, *(end for span in spans for end in span)})
    if any(large % small for small, large in pairwise(ends)):
        return None
    whole = [j for j, (first, last) in enumerate(spans) if first <= inner and last >= outer]
    return whole or [
        j for j, (first, last) in enumerate(spans) if first >= inner and last <= outer and new[j] > 1
    ]


def _with_outer_piece(
    own: list[int], old: Sequence[int], new: Sequence[int], axis: int, varying: Sequence[int]
) -> list[int]:
    """The new axes that share out an old one; and the only one along which its channels vary, where that
    holds the outermost piece of it, joined with all that lies outside.

    A flattened axis of kernels, (B, O * I * K), is taken apart so as (B * O, I, K). Each of its sets of
    channels lies along one new axis alone, so sizes have not met by chance.
    """
    inner = math.prod(old[axis + 1 :])
    first = math.prod(new[varying[0] + 1 :]) if len(varying) == 1 else inner
    return [*own, varying[0]] if inner < first < inner * old[axis] else own


def settle(
    call: Call, labels: Labels, dead: Values, axes: Sequence[int], among: Sequence[int]
) -> list[Stripe]:
    """Make a block of labels vary along one axis only, coupling what would leave it ragged once slots are
    removed.

    The longest axis of `among` keeps its freedom: slot j of every head, of every group, of every block of a
    shuffle lives and dies together.
    """
    varying = _varying(labels)
    if not varying:
        return []
    if not set(varying) & set(among):
        call.pin(
            [Stripe(0, labels.reshape(-1), dead.reshape(-1))], "a reshape that mixes channels with other axes"
        )
        return []
    chosen = max(set(varying) & set(among), key=lambda i: (labels.shape[i], i))
    rest = tuple(i for i in range(labels.ndim) if i != chosen)
    corner = tuple(slice(None) if i == chosen else slice(0, 1) for i in range(labels.ndim))
    if len(varying) > 1:
        call.canvas.couple(np.broadcast_to(labels[corner], labels.shape).reshape(-1), labels.reshape(-1))
    line = labels[corner].reshape(-1)
    values = (
        np.where((dead == dead[corner]).all(axis=rest), dead[corner].reshape(-1), np.nan) if rest else dead
    )
    return [Stripe(axes[chosen], line, values)]


def _varying(labels: Labels) -> list[int]:
    """The axes along which labels differ."""
    return [
        i for i in range(labels.ndim) if labels.shape[i] > 1 and (labels != labels.take([0], axis=i)).any()
    ]


def as_strided(call: Call) -> Sequence[Paint]:
    """as_strided: average pooling to one pixel ends with one that only renames the strides of axes of length
    one; any other pins.
    """
    x, size, strides = call.tensors[0], list(call.args[1]), list(call.args[2])
    step = 1
    for axis in reversed(range(len(size))):
        if size[axis] > 1 and strides[axis] != step:
            call.pin(call.paint(x), "taken apart by strides")
            return ((),)
        step *= size[axis]
    same = len(size) == x.dim() and all(size[stripe.axis] == len(stripe.labels) for stripe in call.paint(x))
    if same and size == list(x.shape) and not call.arg(3, "storage_offset"):
        return (call.paint(x),)
    call.pin(call.paint(x), "taken apart by strides")
    return ((),)


def roll(call: Call) -> Sequence[Paint]:
    """roll and flip: the labels in another order. As many slots as a roll goes are counted, so they stay."""
    x = call.tensors[0]
    if call.operator == "flip":
        steps: dict[int, int] = {d % x.dim(): 0 for d in call.args[1]}
    else:
        dims = call.arg(2, "dims") or ()
        if not dims:  # over all axes, as if they were one
            call.pin(call.paint(x), "rolled along the channels")
            return ((),)
        steps = {d % x.dim(): int(shift) for shift, d in zip(call.args[1], dims)}
    stripes = []
    for stripe in call.paint(x):
        shift = steps.get(stripe.axis)
        if shift is None:
            stripes.append(stripe)
        elif call.operator == "flip":
            stripes.append(stripe.take(slice(None, None, -1)))
        else:
            counted = stripe.labels[-shift:] if shift > 0 else stripe.labels[:-shift]
            call.canvas.pin(counted if shift else counted[:0], "rolled along the channels", call.operator)
            stripes.append(stripe.take(np.roll(np.arange(len(stripe.labels)), shift)))
    return (tuple(stripes),)


def glu(call: Call) -> Sequence[Paint]:
    """Gated linear unit: the two halves of the axis are coupled; x * sigmoid(y) of a removed slot is 0 where
    x is.
    """
    x = call.tensors[0]
    axis = call.arg(1, "dim", -1) % x.dim()
    stripes = [Stripe(y.axis, y.labels, zero_or_unknown(y.dead)) for y in call.paint(x) if y.axis != axis]
    for stripe in call.stripes(x, axis):
        half = len(stripe.labels) // 2
        call.canvas.couple(stripe.labels[:half], stripe.labels[half:])
        stripes.append(Stripe(axis, stripe.labels[:half], zero_or_unknown(stripe.dead[:half])))
    return (tuple(stripes),)


_KEEP = tuple("clone detach alias contiguous dropout lift_fresh lift_fresh_copy positive".split())
_LIKE = ("zeros_like", "ones_like", "full_like", "empty_like")
_NEW = ("new_zeros", "new_ones", "new_full", "new_empty")
_VIEWS = tuple(
    "view _unsafe_view reshape _reshape_alias squeeze unsqueeze flatten unflatten view_copy".split()
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_KEEP, keep),
    **dict.fromkeys(("_to_copy", "to"), converted),
    **dict.fromkeys(_LIKE, filled),
    **dict.fromkeys(_NEW, new),
    **dict.fromkeys(_VIEWS, reshape),
    **dict.fromkeys(("permute", "transpose", "t"), permute),
    **dict.fromkeys(("roll", "flip"), roll),
    **dict.fromkeys(("as_strided", "as_strided_"), as_strided),
    "glu": glu,
}
