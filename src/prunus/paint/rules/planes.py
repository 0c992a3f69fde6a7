"""Operators on the planes of space that channels are a batch to: triangles, diagonals, quarter turns, cross
products, unpooling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, unknown_like, zero_or_unknown
from prunus.paint.rules.pointwise import pointwise


def triangle(call: Call) -> Sequence[Paint]:
    """tril(x, diagonal), triu: of the last two axes. Whether a slot comes before another does not change when
    others go, how far before it does.
    """
    x = call.tensors[0]
    beside = call.arg(1, "diagonal", 0) in ((0, -1) if call.operator.startswith("tril") else (0, 1))
    if beside and _coupled(call, x, -2, -1):
        return (tuple(Stripe(y.axis, y.labels, zero_or_unknown(y.dead)) for y in call.paint(x)),)
    return (_batch(call, {x.dim() - 2, x.dim() - 1}, "a triangle along the channels"),)


def quarter_turn(call: Call) -> Sequence[Paint]:
    """rot90(x, times, dims)."""
    x = call.tensors[0]
    dims = {d % x.dim() for d in call.arg(2, "dims", (0, 1))}
    call.pin([y for y in call.paint(x) if y.axis in dims], "turned along the channels")
    return (tuple(y for y in call.paint(x) if y.axis not in dims),)


def diagonal(call: Call) -> Sequence[Paint]:
    """diagonal(x, offset, dim1, dim2): both axes go, the diagonal comes last."""
    x = call.tensors[0]
    dims = [call.arg(2, "dim1", 0) % x.dim(), call.arg(3, "dim2", 1) % x.dim()]
    rest = [y.on(y.axis - sum(d < y.axis for d in dims)) for y in call.paint(x) if y.axis not in dims]
    if call.arg(1, "offset", 0) == 0 and _coupled(call, x, *dims):
        a, b = (call.stripes(x, d)[0] for d in dims)
        dead = np.where(np.isnan(a.dead), b.dead, a.dead)
        return ((*rest, Stripe(x.dim() - 2, a.labels, dead)),)
    call.pin([y for y in call.paint(x) if y.axis in dims], "a diagonal along the channels")
    return (tuple(rest),)


def diagonal_matrix(call: Call) -> Sequence[Paint]:
    """diag_embed(x, offset, dim1, dim2): what stands along the last axis goes on the diagonal of two."""
    x, out = call.tensors[0], call.outputs[0]
    dims = [call.arg(2, "dim1", -2) % out.dim(), call.arg(3, "dim2", -1) % out.dim()]
    rest = [axis for axis in range(out.dim()) if axis not in dims]
    stripes = [y.on(rest[y.axis]) for y in call.paint(x) if y.axis < x.dim() - 1]
    if call.arg(1, "offset", 0) != 0:
        call.pin(call.stripes(x, -1), "a diagonal along the channels")
        return (tuple(stripes),)
    on = [Stripe(d, y.labels, zero_or_unknown(y.dead)) for y in call.stripes(x, -1) for d in sorted(dims)]
    return ((*stripes, *on),)


def _coupled(call: Call, x: Tensor, first: int, second: int) -> bool:
    """Let the slots of two axes live and die together, where one set of channels, of the same length, is
    along each.
    """
    a, b = call.stripes(x, first), call.stripes(x, second)
    if len(a) != 1 or len(b) != 1 or len(a[0].labels) != len(b[0].labels):
        return False
    call.canvas.couple(a[0].labels, b[0].labels)
    return True


def cross(call: Call) -> Sequence[Paint]:
    """linalg_cross(x, y, dim): three slots make three."""
    out = call.outputs[0]
    axis = call.arg(2, "dim", -1) % max(out.dim(), 1)
    for tensor in call.tensors:
        call.pin(call.stripes(tensor, axis - out.dim()), "a cross product along the channels")
    (paint,) = pointwise(call)
    return (tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in paint if y.axis != axis),)


def max_unpool(call: Call) -> Sequence[Paint]:
    """max_unpool2d(x, indices, size), max_unpool3d: values and the places they go to have
    the same channels.
    """
    x, indices = call.tensors[:2]
    first = x.dim() - (3 if "3d" in call.operator else 2)
    stripes = []
    for axis in range(x.dim()):
        found = [*call.stripes(x, axis), *call.stripes(indices, axis)]
        if axis < first and len(found) == 2:
            call.canvas.couple(found[0].labels, found[1].labels)
            stripes.append(Stripe(axis, found[0].labels, zero_or_unknown(found[0].dead)))
        else:
            call.pin(found, "a spatial axis" if axis >= first else "meets an unpainted tensor")
    return (tuple(stripes),)


def fractional_pool(call: Call) -> Sequence[Paint]:
    """fractional_max_pool2d(x, kernel, size, samples), in two or three dimensions: random numbers per channel
    say where.
    """
    x, samples = call.args[0], call.args[3]
    first = x.dim() - (3 if "3d" in call.operator else 2)
    stripes = []
    for stripe in call.paint(x):
        drawn = call.stripes(samples, stripe.axis - first + 2) if stripe.axis < first else []
        if not drawn:
            call.pin([stripe], "a spatial axis" if stripe.axis >= first else "meets an unpainted tensor")
            continue
        call.canvas.couple(stripe.labels, drawn[0].labels)
        stripes.append(stripe)
    return (tuple(stripes), tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in stripes))


def _batch(call: Call, dims: set[int], reason: str) -> Paint:
    """Stripes along other axes, where zero stays zero."""
    paint = call.paint(call.tensors[0])
    call.pin([y for y in paint if y.axis in dims], reason)
    return tuple(Stripe(y.axis, y.labels, zero_or_unknown(y.dead)) for y in paint if y.axis not in dims)


def distance(call: Call) -> Sequence[Paint]:
    """_cdist_forward and _euclidean_dist of (..., P, M) and (..., R, M): slots of M that become equal are at
    no distance.
    """
    first, second = call.tensors[:2]
    rank = call.outputs[0].dim()
    a, b = call.stripes(first, -1), call.stripes(second, -1)
    if len(a) == len(b) == 1:
        call.canvas.couple(a[0].labels, b[0].labels)
        if np.any(a[0].dead != b[0].dead):
            call.inexact(a, "distances over slots that do not become equal")
    else:
        call.pin([*a, *b], "meets an unpainted tensor")
    rows = [y.on(y.axis - first.dim() + rank) for y in call.paint(first) if y.axis < first.dim() - 1]
    columns = [Stripe(rank - 1, y.labels, y.dead) for y in call.stripes(second, -2)]
    for stripe in call.paint(second):
        if stripe.axis < second.dim() - 2:
            call.pin(
                [stripe, *(y for y in rows if y.axis == stripe.axis - second.dim() + rank)],
                "a batch of distances",
            )
    return (tuple(Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in [*rows, *columns]),)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("tril", "triu"), triangle),
    "rot90": quarter_turn,
    "diagonal": diagonal,
    "diag_embed": diagonal_matrix,
    "linalg_cross": cross,
    **dict.fromkeys(("max_unpool2d", "max_unpool3d"), max_unpool),
    **dict.fromkeys(("fractional_max_pool2d", "fractional_max_pool3d"), fractional_pool),
    **dict.fromkeys(("_cdist_forward", "_euclidean_dist"), distance),
}
