"""Indexing: along an unpainted axis everything passes; along a painted one a known index puts the slots into
another order, any other pins.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, unknown_like, zero_or_unknown
from prunus.paint.rules.pieces import keep_place


def index_select(call: Call) -> Sequence[Paint]:
    """index_select(x, dim, index): slots of a painted axis in another order, where the index is a known
    constant.
    """
    x, index = call.args[0], call.args[2]
    axis = call.args[1] % max(x.dim(), 1)
    found = _reordered(call, x, axis, index)
    return ((*(y for y in call.paint(x) if y.axis != axis), *found),)


def _reordered(call: Call, x: Tensor, axis: int, index: Tensor) -> list[Stripe]:
    """The stripe of the slots that a known index names, or a mask lets through; the slots of the index itself
    live and die with those.

    Rows of a parameter, as of a table of positions, are pinned: which of them are read does not depend on the
    channels around.
    """
    found, mask = call.stripes(x, axis), index.dtype == torch.bool
    # a mask made of numbers would let less through once these are zero
    values = call.canvas.constant_of(index) if mask else call.canvas.value_of(index)
    if len(found) != 1 or values is None or values.dim() != 1 or call.canvas.is_fixed(x):
        call.pin(found, "picked by an index")
        call.pin(call.paint(index), "used as an index")
        return []
    places = values.nonzero()[:, 0] if mask else values
    picked = found[0].take(places.cpu().numpy())
    if len(picked.labels) == 1:
        keep_place(call, found, int(places))
    for stripe in call.paint(index):
        call.canvas.couple(stripe.labels, found[0].labels if mask else picked.labels)
    return [picked]


def index(call: Call) -> Sequence[Paint]:
    """x[i, :, j] with index tensors: the indexed axes are pinned, unless a known list names slots of one; the
    others keep their stripes. A mask whose values are known stands for the places where it is true.
    """
    x, out = call.args[0], call.outputs[0]
    indices = [one for index in call.args[1] for one in _along_axes(call, index)]
    used = [axis for axis, tensor in enumerate(indices) if tensor is not None]
    call.canvas.note_unlisted(call.args[1])
    only = indices[used[0]]
    if len(used) == 1 and only is not None and out.dim() == x.dim():
        found = _reordered(call, x, used[0], only)
        return ((*(y for y in call.paint(x) if y.axis != used[0]), *found),)
    for tensor in indices:
        call.pin(call.paint(tensor), "used as an index")
    if any(t is not None and t.dtype == torch.bool and call.canvas.value_of(t) is None for t in indices):
        return _picked_by_data(call, x, used, indices)
    call.pin([y for y in call.paint(x) if y.axis in used], "picked by an index")
    width = out.dim() - (x.dim() - len(used))
    adjacent = used == list(range(used[0], used[0] + len(used)))
    place = used[0] if adjacent else 0
    rest = [axis for axis in range(x.dim()) if axis not in used]
    moved = {axis: i + (width if i >= place else 0) for i, axis in enumerate(rest)}
    return (tuple(y.on(moved[y.axis]) for y in call.paint(x) if y.axis in moved),)


def _picked_by_data(
    call: Call, x: Tensor, used: Sequence[int], indices: Sequence[Tensor | None]
) -> Sequence[Paint]:
    """x[..., mask]: the axes beside those of a mask keep their stripes."""
    mask = indices[used[0]]
    if len(used) != 1 or mask is None:
        call.pin(call.paint(x), "picked by a boolean mask")
        return ((),)
    end = used[0] + mask.dim()
    call.pin([y for y in call.paint(x) if used[0] <= y.axis < end], "picked by a boolean mask")
    before = [y for y in call.paint(x) if y.axis < used[0]]
    return ((*before, *(y.on(y.axis - mask.dim() + 1) for y in call.paint(x) if y.axis >= end)),)


def _along_axes(call: Call, index: Tensor | None) -> list[Tensor | None]:
    """An index for each of the axes that it goes along: a known mask has several."""
    known = index is not None and index.dtype == torch.bool and call.canvas.value_of(index) is not None
    return [index] * (index.dim() if known and index is not None else 1)


def embedding(call: Call) -> Sequence[Paint]:
    """embedding(weight, indices): rows are pinned, the features pass."""
    weight, out = call.tensors[0], call.outputs[0]
    call.pin([y for y in call.paint(weight) if y.axis == 0], "rows of an embedding")
    return (tuple(Stripe(out.dim() - 1, y.labels, y.dead) for y in call.paint(weight) if y.axis == 1),)


def embedding_bag(call: Call) -> Sequence[Paint]:
    """_embedding_bag(weight, indices, offsets, ...): sums, means or maxima of rows; the other results only
    count.
    """
    weight, out = call.tensors[0], call.outputs[0]
    call.pin([y for y in call.paint(weight) if y.axis == 0], "rows of an embedding")
    for tensor in call.tensors[1:]:
        call.pin(call.paint(tensor), "used as an index")
    features = tuple(
        Stripe(out.dim() - 1, y.labels, zero_or_unknown(y.dead)) for y in call.paint(weight) if y.axis == 1
    )
    return [features, *(() for _ in call.outputs[1:])]


def bucketize(call: Call) -> Sequence[Paint]:
    """bucketize(x, boundaries) and searchsorted(boundaries, x), with one list of boundaries for all."""
    x, boundaries = call.args[:2] if call.operator == "bucketize" else (call.args[1], call.args[0])
    call.pin(call.paint(boundaries), "boundaries")
    if boundaries.dim() != 1 or not isinstance(x, Tensor):
        call.pin([y for t in call.tensors for y in call.paint(t)], f"{call.operator} along the channels")
        return ((),)
    return (tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in call.paint(x)),)


RULES: dict[str, Rule] = {
    "index_select": index_select,
    "index": index,
    "embedding": embedding,
    "_embedding_bag": embedding_bag,
    "_embedding_bag_forward_only": embedding_bag,
    **dict.fromkeys(("bucketize", "searchsorted"), bucketize),
}
