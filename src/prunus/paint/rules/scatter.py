"""Reading and writing at indices along one axis, or where a condition holds: along all other axes the
operands meet slot by slot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, Values, constant, unknown_like


def gather(call: Call) -> Sequence[Paint]:
    """gather(x, dim, index): a slot's values are moved within it."""
    x, axis, index = call.args[0], call.args[1] % max(call.args[0].dim(), 1), call.args[2]
    call.pin([*call.stripes(x, axis), *call.stripes(index, axis)], "gather along the channels")
    return (tuple(_met(call, [x, index], axis)),)


def scatter(call: Call) -> Sequence[Paint]:
    """scatter(x, dim, index, source or number), scatter_add, scatter_reduce."""
    x, axis, index, source = (
        call.args[0],
        call.args[1] % max(call.args[0].dim(), 1),
        call.args[2],
        _fourth(call),
    )
    written = [source] if isinstance(source, Tensor) else []
    for tensor in (x, index, *written):
        call.pin(call.stripes(tensor, axis), "scatter along the channels")
    stripes = _met(call, [x, index, *written], axis)
    return (_written(call, x, stripes, source, source if written else None),)


def index_write(call: Call) -> Sequence[Paint]:
    """index_add, index_copy, index_fill, index_reduce (x, dim, index, source or number): the index names
    slots along `dim` for all others.
    """
    x, axis, source = call.args[0], call.args[1] % max(call.args[0].dim(), 1), _fourth(call)
    whole = isinstance(source, Tensor) and source.dim() == x.dim() > 0
    for tensor in (x, *([source] if whole else [])):
        call.pin(call.stripes(tensor, axis), f"{call.operator} along the channels")
    call.pin(call.paint(call.args[2]), "used as an index")
    stripes = _met(call, [x, source] if whole else [x], axis)
    return (_written(call, x, stripes, source, source if whole else None),)


def _fourth(call: Call) -> Any:
    return next(
        (
            value
            for value in (call.arg(3, "src"), call.kwargs.get("source"), call.kwargs.get("value"))
            if value is not None
        ),
        None,
    )


def _met(call: Call, tensors: Sequence[Tensor], axis: int) -> list[Stripe]:
    """Couple what meets along all axes but one: the stripes of the first tensor there, where all of them
    reach along all of it.
    """
    stripes = []
    for other in range(tensors[0].dim()):
        found = [call.stripes(tensor, other) for tensor in tensors]
        if other == axis or not any(found):
            continue
        if all(len(one) == 1 for one in found) and len({len(one[0].labels) for one in found}) == 1:
            for one in found[1:]:
                call.canvas.couple(found[0][0].labels, one[0].labels)
            stripes.append(found[0][0])
        else:
            call.pin([stripe for one in found for stripe in one], "meets an unpainted tensor")
    return stripes


def _written(call: Call, x: Tensor, stripes: Sequence[Stripe], source: Any, tensor: Tensor | None) -> Paint:
    """What removed slots hold after some elements were written."""
    result = []
    for stripe in stripes:
        deads = (
            [y.dead for y in call.stripes(tensor, stripe.axis)]
            if tensor is not None
            else [constant(_number(call, source), len(stripe.labels))]
        )
        result.append(
            Stripe(
                stripe.axis,
                stripe.labels,
                _after(call, stripe.dead, deads[0] if deads else unknown_like(stripe.labels)),
            )
        )
    return tuple(result)


def _number(call: Call, value: Any) -> float:
    """A number, or the one element of a tensor that is a known constant; else NaN."""
    if isinstance(value, (int, float)):
        return float(value)
    known = call.canvas.constant_of(value) if isinstance(value, Tensor) else None
    return float(known) if known is not None and known.numel() == 1 and not known.is_complex() else math.nan


def _after(call: Call, held: Values, written: Values) -> Values:
    """Equal values stay what they are where they are put in place of one another; sums and other reductions
    only keep zeros.
    """
    replaces = (
        call.operator.rstrip("_") in ("scatter", "index_copy", "index_fill", "index_put")
        and "reduce" not in call.func._overloadname
    )
    same = (held == written) & (replaces & ~np.isnan(held) | (held == 0))
    return np.where(same, held, np.nan)


def index_put(call: Call) -> Sequence[Paint]:
    """x[indices] = values, with one mask that covers some axes, or with lists of slots along axes that hold
    no channels.
    """
    x, indices, values = call.args[0], list(call.args[1]), call.args[2]
    masks = [
        (place, index)
        for place, index in enumerate(indices)
        if index is not None and index.dtype == torch.bool
    ]
    if masks and sum(index is not None for index in indices) > 1:
        return _pinned(call, "written where several conditions hold")
    if masks:
        return _put_where(call, x, *masks[0], values)
    used = [axis for axis, index in enumerate(indices) if index is not None]
    if any(call.stripes(x, axis) for axis in used):
        return _pinned(call, "written at an index")
    for index in indices:
        call.pin(call.paint(index), "used as an index")
    adjacent = used == list(range(used[0], used[0] + len(used)))
    width = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        *(indices[axis].shape for axis in used)
    )
    return _put(call, x, used, len(width), used[0] if adjacent else 0, values)


def _put_where(call: Call, x: Tensor, first: int, mask: Tensor, values: Tensor) -> Sequence[Paint]:
    covered = range(first, first + mask.dim())
    for axis in covered:
        mine, its = call.stripes(x, axis), call.stripes(mask, axis - first)
        if len(mine) == len(its) == 1 and values.numel() == 1:
            call.canvas.couple(mine[0].labels, its[0].labels)
        else:
            call.pin([*mine, *its], "written where a condition holds")
    kept = [
        axis
        for axis in covered
        if call.stripes(x, axis) and call.stripes(mask, axis - first) and values.numel() == 1
    ]
    return _put(call, x, [axis for axis in covered if axis not in kept], 1, first, values)


def _put(
    call: Call, x: Tensor, gone: Sequence[int], width: int, place: int, values: Tensor
) -> Sequence[Paint]:
    """Values meet the axes that are written whole: they are broadcast to these, with `width` axes of indices
    from `place` on.
    """
    stripes: list[Stripe] = []
    seen = set[int]()
    rest = [axis for axis in range(x.dim()) if axis not in gone]
    for stripe in (y for y in call.paint(x) if y.axis in rest):
        position = rest.index(stripe.axis)
        axis = position + (width if stripe.axis >= place else 0) - (len(rest) + width - values.dim())
        met = values.dim() > 0 and axis >= 0 and values.shape[axis] > 1
        found = call.stripes(values, axis) if met else []
        seen.add(axis)
        if met and len(found) != 1:
            call.pin([stripe, *found], "meets an unpainted tensor")
            continue
        if met:
            call.canvas.couple(stripe.labels, found[0].labels)
        written = found[0].dead if met else constant(_number(call, values), len(stripe.labels))
        adds = bool(call.arg(3, "accumulate", False))
        dead = np.where((stripe.dead == written) & (not adds or (stripe.dead == 0)), stripe.dead, np.nan)
        stripes.append(Stripe(stripe.axis, stripe.labels, dead))
    call.pin([y for y in call.paint(values) if y.axis not in seen], "written at an index")
    return (tuple(stripes),)


def _pinned(call: Call, reason: str) -> Sequence[Paint]:
    for tensor in call.tensors:
        call.pin(call.paint(tensor), reason)
    return ((),) * len(call.outputs)


RULES: dict[str, Rule] = {
    "gather": gather,
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce"), scatter),
    **dict.fromkeys(("index_add", "index_copy", "index_fill", "index_reduce"), index_write),
    **dict.fromkeys(("index_put", "_unsafe_index_put"), index_put),
}
