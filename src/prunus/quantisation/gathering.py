"""Samples of what a layer gets in the quantised network, and of what it makes in the original."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from prunus.compensation.least_squares import Fit, fit_for
from prunus.compensation.prefix_cache import Resumed
from prunus.observe.matrices import channel_axis, positions, rows
from prunus.paint.inputs import Inputs
from prunus.quantisation.layers import Layer

AT_ONCE = 1024  # columns of groups that are sampled together


def gather(
    dense: Resumed, coded: Resumed, layer: Layer, module: Any, batches: Iterable[Inputs], ridge: float
) -> list[Fit]:
    """One fit per group of a layer, of the inputs that it gets in the coded network and the outputs that it
    makes in the dense one.

    Where these are added to something else, as at the end of a residual branch, it is the sum that is to be
    that of the dense network: what the other summand lacks is wanted of the layer (He, Zhang and Sun 2017,
    section 3.2, for removed channels).
    """
    groups, columns, outputs = sizes(module)
    fits = [fit_for(columns, outputs, ridge) for _ in range(groups)]
    generator = torch.Generator().manual_seed(0)
    for number, batch in enumerate(batches):
        if layer.added:
            _, y, whole = dense.upto_sum(layer.name, layer.norm, number, batch)
            x, _, other = coded.upto_sum(layer.name, layer.norm, number, batch)
            if whole is not None and other is not None and whole.shape == y.shape == other.shape:
                y = y + (whole - other)
        else:
            x, y = coded.given(layer.name, number, batch)[0], dense.upto(layer.name, number, batch)[1]
        _add(fits, module, x, y, generator)
    return fits


def sizes(module: Any) -> tuple[int, int, int]:
    """Groups of a layer, and columns and outputs of each."""
    groups: int = getattr(module, "groups", 1)
    if isinstance(module, nn.Linear):
        return 1, module.in_features, module.out_features
    return groups, module.in_channels // groups * positions(module), module.out_channels // groups


def _add(fits: list[Fit], module: Any, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
    """Rows of one batch, some groups at a time, so that those of wide grouped layers fit into memory."""
    groups, columns, outputs = sizes(module)
    axis, planes = channel_axis(module), columns // positions(module)
    together = max(1, AT_ONCE // columns)
    for first in range(0, groups, together):
        count = min(together, groups - first)
        given, made = rows(
            module,
            x.narrow(axis, first * planes, count * planes),
            y.narrow(axis, first * outputs, count * outputs),
            generator,
        )
        for k, fit in enumerate(fits[first : first + count]):
            picked = fit.wants(len(given))
            fit.take(
                given[picked, k * columns : (k + 1) * columns], made[picked, k * outputs : (k + 1) * outputs]
            )


__all__ = ["gather", "sizes"]
