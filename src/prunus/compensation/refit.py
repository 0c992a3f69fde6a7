"""Refitting: the layers that read removed channels learn, in closed form, to make do with those that are
left.

He, Zhang and Sun 2017, "Channel Pruning for Accelerating Very Deep Neural Networks" (arXiv 1707.06168),
equation (2) for fixed channels: the inputs are those that a layer gets in the pruned network, the outputs
those that it makes in the original, so that errors of earlier layers are made up for too. Our choice: an
exact solution from streamed sums over far more places than the paper's ten per image, and a ridge that pulls
towards the weights that were there, so that inputs which the calibration hardly moves keep them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunus._foundation.arguments import door
from prunus.compensation.least_squares import Fit, SummedProducts, fit_for
from prunus.compensation.prefix_cache import Resumed
from prunus.errors import PlanError
from prunus.observe.capture import check_repeatable
from prunus.observe.matrices import as_matrix, channel_axis, from_matrix, portions, positions
from prunus.observe.windows import cheaper, window_sums
from prunus.paint.inputs import Inputs
from prunus.paint.model_copy import copy_model, unwrap
from prunus.plans import mask
from prunus.plans.consumers import Reader, readers
from prunus.plans.plan import Plan
from prunus.plans.resolve import graph_for

RIDGE = 1e-3
Watcher = Callable[[int, int], None]


def unwatched(done: int, total: int) -> None:
    """Nobody watches."""


@door()
def refit(
    model: nn.Module,
    plan: Plan,
    batches: Iterable[Inputs],
    *,
    ridge: float = RIDGE,
    on_step: Watcher = unwatched,
) -> nn.Module:
    """A copy of the model whose layers that read removed channels are refitted without them; give it to
    `compact` with the same plan.

    Plain convolutions, transposed convolutions and linear layers are refitted, one after the other; layers of
    other kinds stay as they are. A shift of the mean goes into the layer's bias, or into the batch norm
    behind it; where there is neither, none is fitted.

    Args:
        model: the model that the plan was made for; not changed.
        plan: what goes.
        batches: calibration inputs, as the model takes them; read once per layer, so a list, or an object
            that gives the same again and again.
        ridge: strength of the pull towards the old weights, relative to the mean variance of the inputs;
            infinite = the means alone are made up for.
        on_step: called with (layers done, layers in all).

    Raises:
        PlanError: the plan was made for another model, there are no inputs, or they can be read only once.
    """
    check_repeatable(batches)
    model = unwrap(model)
    graph = graph_for(model, plan)
    removed = plan.removed_in(graph)
    found = [reader for reader in readers(graph) if reader.loses(removed)]
    fitted, original, masked = copy_model(model, {}), copy_model(model, {}).eval(), mask(model, plan).eval()
    with torch.no_grad():
        pair = [Resumed(network, graph, _first(batches)) for network in (original, masked)] if found else []
        for done, reader in enumerate(found):
            on_step(done, len(found))
            fits = _gather(pair, original.get_submodule(reader.name), reader, removed, batches, ridge)
            for network in (fitted, masked):
                _apply(network, reader, removed, fits, ridge)
    on_step(len(found), len(found))
    return fitted


@door()
def restore_means(
    model: nn.Module, plan: Plan, batches: Iterable[Inputs], *, on_step: Watcher = unwatched
) -> nn.Module:
    """Like `refit`, but the weights stay: what removed channels added on average goes into biases or batch
    norms.
    """
    return refit(model, plan, batches, ridge=math.inf, on_step=on_step)


def _first(batches: Iterable[Inputs]) -> Inputs:
    for batch in batches:
        return batch
    raise PlanError("There is no batch of calibration inputs; at least one is needed.")


def _gather(
    pair: list[Resumed],
    layer: nn.Module,
    reader: Reader,
    removed: NDArray[np.bool_],
    batches: Iterable[Inputs],
    ridge: float,
) -> list[Fit]:
    """Samples of a layer's inputs in the masked model and its outputs in the original, one fit per group of
    the convolution.
    """
    original, masked = pair
    axis, generator = channel_axis(layer), torch.Generator().manual_seed(0)
    parts = reader.parts(removed)
    fits = [fit_for(len(columns) * positions(layer), len(made), ridge) for columns, made in parts]
    for number, batch in enumerate(batches):
        given, made_there = (
            masked.given(reader.name, number, batch),
            original.every(reader.name, number, batch),
        )
        calls = [(x, y) for x, (_, y) in zip(given, made_there)]
        for (x, y), (fit, (columns, made)) in itertools.product(calls, zip(fits, parts)):
            if not len(made):
                continue
            inputs, outputs = (
                x.index_select(axis, columns.to(x.device)),
                y.index_select(axis, made.to(y.device)),
            )
            if isinstance(fit, SummedProducts) and cheaper(layer, inputs, outputs):
                fit.take_sums(window_sums(layer, inputs, outputs))
                continue
            for some in portions(layer, inputs, outputs, generator, fit.wants):
                fit.take(*some)
    return fits


@torch.no_grad()
def _apply(
    network: nn.Module, reader: Reader, removed: NDArray[np.bool_], fits: list[Fit], ridge: float
) -> None:
    """Put the solution into a copy of the model; what reads removed channels becomes zero."""
    layer = cast(Any, network.get_submodule(reader.name))
    norm = cast(Any, network.get_submodule(reader.norm)) if reader.norm else None
    matrix = as_matrix(layer, layer.weight.detach()).clone()
    for fit, (columns, made) in zip(fits, reader.parts(removed)):
        if not len(made):
            continue
        kept = columns % len(reader.inputs)
        prior = matrix[made][:, kept].flatten(1)
        weight, shift = fit.solve(prior, ridge, centred=layer.bias is not None or norm is not None)
        matrix[made] = 0
        matrix[made[:, None], kept] = weight.view(len(made), len(kept), -1).to(matrix)
        if layer.bias is not None:
            layer.bias[made] = shift.to(layer.bias)
        elif norm is not None:
            norm.running_mean[made] -= shift.to(norm.running_mean)
    layer.weight.copy_(from_matrix(layer, matrix, layer.weight))
