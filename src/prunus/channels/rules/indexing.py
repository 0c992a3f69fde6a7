"""Indexing: along an unpainted axis everything passes; along a painted one the slots that an index names are pinned."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..layers import Layer, Paint, unknown_like, zero_or_unknown
from ..paint import Call, Rule


def index_select(call: Call) -> Sequence[Paint]:
    """index_select(x, dim, index): the index is a fixed list of slots, so a painted axis is pinned."""
    x = call.tensors[0]
    axis = call.args[1] % max(x.dim(), 1)
    call.pin(call.layers(x, axis), "picked by an index")
    for tensor in call.tensors[1:]:
        call.pin(call.paint(tensor), "used as an index")
    return (tuple(y for y in call.paint(x) if y.axis != axis),)


def index(call: Call) -> Sequence[Paint]:
    """x[i, :, j] with index tensors: the indexed axes are pinned, the others keep their layers."""
    x, indices, out = call.args[0], call.args[1], call.outputs[0]
    used = [axis for axis, tensor in enumerate(indices) if tensor is not None]
    for tensor in indices:
        call.pin(call.paint(tensor), "used as an index")
    call.pin([y for y in call.paint(x) if y.axis in used], "picked by an index")
    if any(tensor is not None and tensor.dtype.is_floating_point is False and str(tensor.dtype) == "torch.bool" for tensor in indices):
        call.pin(call.paint(x), "picked by a boolean mask")
        return ((),)
    width = out.dim() - (x.dim() - len(used))
    adjacent = used == list(range(used[0], used[0] + len(used)))
    place = used[0] if adjacent else 0
    rest = [axis for axis in range(x.dim()) if axis not in used]
    moved = {axis: i + (width if i >= place else 0) for i, axis in enumerate(rest)}
    return (tuple(y.on(moved[y.axis]) for y in call.paint(x) if y.axis in moved),)


def embedding(call: Call) -> Sequence[Paint]:
    """embedding(weight, indices): rows are pinned, the features pass."""
    weight, out = call.tensors[0], call.outputs[0]
    call.pin([y for y in call.paint(weight) if y.axis == 0], "rows of an embedding")
    return (tuple(Layer(out.dim() - 1, y.labels, y.dead) for y in call.paint(weight) if y.axis == 1),)


def embedding_bag(call: Call) -> Sequence[Paint]:
    """_embedding_bag(weight, indices, offsets, ...): sums, means or maxima of rows; the other results only count."""
    weight, out = call.tensors[0], call.outputs[0]
    call.pin([y for y in call.paint(weight) if y.axis == 0], "rows of an embedding")
    for tensor in call.tensors[1:]:
        call.pin(call.paint(tensor), "used as an index")
    features = tuple(Layer(out.dim() - 1, y.labels, zero_or_unknown(y.dead)) for y in call.paint(weight) if y.axis == 1)
    return [features, *(() for _ in call.outputs[1:])]


def bucketize(call: Call) -> Sequence[Paint]:
    """bucketize(x, boundaries) and searchsorted(boundaries, x), with one list of boundaries for all."""
    x, boundaries = call.args[:2] if call.operator == "bucketize" else (call.args[1], call.args[0])
    call.pin(call.paint(boundaries), "boundaries")
    if boundaries.dim() != 1 or not isinstance(x, Tensor):
        call.pin([y for t in call.tensors for y in call.paint(t)], f"{call.operator} along the channels")
        return ((),)
    return (tuple(Layer(y.axis, y.labels, unknown_like(y.labels)) for y in call.paint(x)),)


RULES: dict[str, Rule] = {
    "index_select": index_select,
    "index": index,
    "embedding": embedding,
    "_embedding_bag": embedding_bag,
    "_embedding_bag_forward_only": embedding_bag,
    **dict.fromkeys(("bucketize", "searchsorted"), bucketize),
}
