"""Weights that are made of other parameters before they are used: directions and lengths."""

from __future__ import annotations

from collections.abc import Sequence

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, is_zero, unknown_like, zero_or_unknown


def weight_norm(call: Call) -> Sequence[Paint]:
    """_weight_norm_interface(direction, length, dim): a filter goes with its direction and its length.

    The mask zeroes lengths and leaves directions, which are divided by their norms. Along other axes a norm
    sums the squares of all slots, so that removed ones must be zero.
    """
    direction, length = call.args[:2]
    dim = call.arg(2, "dim", 0) % direction.dim()
    stripes, norms = [], list[Stripe]()
    for stripe in call.paint(direction):
        if stripe.axis != dim:
            call.canvas.relied.append(stripe.labels)
            stripes.append(Stripe(stripe.axis, stripe.labels, zero_or_unknown(stripe.dead)))
            continue
        lengths = call.stripes(length, dim) if length.dim() == direction.dim() else call.stripes(length, 0)
        if len(lengths) != 1:
            call.pin([stripe, *lengths], "the lengths of the filters are unpainted")
            continue
        call.canvas.couple(stripe.labels, lengths[0].labels)
        call.consumed.append(stripe.labels)
        stripes.append(Stripe(dim, lengths[0].labels, zero_or_unknown(lengths[0].dead)))
        norms.append(
            Stripe(
                dim if call.outputs[1].dim() == direction.dim() else 0,
                stripe.labels,
                unknown_like(stripe.labels),
            )
        )
    return (tuple(stripes), tuple(norms))


def renorm(call: Call) -> Sequence[Paint]:
    """renorm(x, p, dim, maxnorm): slices along `dim` are made shorter, each by its own norm over all other
    axes, to which zeros add nothing.
    """
    x, power = call.args[0], float(call.args[1])
    dim = call.args[2] % x.dim()
    across = [stripe for stripe in call.paint(x) if stripe.axis != dim]
    for stripe in across:
        if not is_zero(stripe.dead) or power <= 0:
            call.inexact([stripe], "renorm across the channels")
        elif call.canvas.is_fixed(x):
            call.canvas.relied.append(stripe.labels)
    return (
        tuple(Stripe(stripe.axis, stripe.labels, zero_or_unknown(stripe.dead)) for stripe in call.paint(x)),
    )


RULES: dict[str, Rule] = {"_weight_norm_interface": weight_norm, "renorm": renorm}
