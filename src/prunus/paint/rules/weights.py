"""Weights that are made of other parameters before they are used: directions and lengths."""

from __future__ import annotations

from collections.abc import Sequence

from prunus.paint.painter import Call, Rule
from prunus.paint.records import Layer, Paint, is_zero, unknown_like, zero_or_unknown


def weight_norm(call: Call) -> Sequence[Paint]:
    """_weight_norm_interface(direction, length, dim): a filter goes with its direction and its length.

    The mask zeroes lengths and leaves directions, which are divided by their norms. Along other axes a norm
    sums the squares of all slots, so that removed ones must be zero.
    """
    direction, length = call.args[:2]
    dim = call.arg(2, "dim", 0) % direction.dim()
    layers, norms = [], list[Layer]()
    for layer in call.paint(direction):
        if layer.axis != dim:
            call.painter.relied.append(layer.labels)
            layers.append(Layer(layer.axis, layer.labels, zero_or_unknown(layer.dead)))
            continue
        lengths = call.layers(length, dim) if length.dim() == direction.dim() else call.layers(length, 0)
        if len(lengths) != 1:
            call.pin([layer, *lengths], "the lengths of the filters are unpainted")
            continue
        call.painter.couple(layer.labels, lengths[0].labels)
        call.consumed.append(layer.labels)
        layers.append(Layer(dim, lengths[0].labels, zero_or_unknown(lengths[0].dead)))
        norms.append(
            Layer(
                dim if call.outputs[1].dim() == direction.dim() else 0,
                layer.labels,
                unknown_like(layer.labels),
            )
        )
    return (tuple(layers), tuple(norms))


def renorm(call: Call) -> Sequence[Paint]:
    """renorm(x, p, dim, maxnorm): slices along `dim` are made shorter, each by its own norm over all other
    axes, to which zeros add nothing.
    """
    x, power = call.args[0], float(call.args[1])
    dim = call.args[2] % x.dim()
    across = [layer for layer in call.paint(x) if layer.axis != dim]
    for layer in across:
        if not is_zero(layer.dead) or power <= 0:
            call.inexact([layer], "renorm across the channels")
        elif call.painter.is_fixed(x):
            call.painter.relied.append(layer.labels)
    return (tuple(Layer(layer.axis, layer.labels, zero_or_unknown(layer.dead)) for layer in call.paint(x)),)


RULES: dict[str, Rule] = {"_weight_norm_interface": weight_norm, "renorm": renorm}
