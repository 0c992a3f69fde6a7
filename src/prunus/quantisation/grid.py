"""Weights on uniform grids, after the training: one step per layer, error feedback, and layers that are
refitted on what they get in the quantised network.

One layer after the other, in the order in which they run: its weights are refitted so that from the inputs of
the quantised network it makes what it makes in the original (He, Zhang and Sun 2017, as in
`prunus.compensation`), and then rounded with error feedback. Steps are chosen so that the error of a layer's
outputs, relative to their variance, is what was asked for. Batch norms are folded first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.coding.tensors import CodedTensor, Grid, values_of
from prunus.compensation.least_squares import Fit
from prunus.compensation.prefix_cache import Resumed
from prunus.compensation.refit import RIDGE, Watcher, unwatched
from prunus.errors import ConfigError
from prunus.observe.capture import check_repeatable
from prunus.paint.inputs import Inputs
from prunus.paint.model_copy import copy_model, named_tensors, unwrap
from prunus.paint.trace import trace
from prunus.quantisation.folding import fold_norms
from prunus.quantisation.gathering import gather
from prunus.quantisation.layers import Layer, from_group_matrices, group_matrices, layers
from prunus.quantisation.quantised import Quantised, decoded, on_grid
from prunus.quantisation.rounding import LayerGrid, Wanted, grid_of_layer, single
from prunus.quantisation.sharing import error_shares

MOST = 0.5  # the error of a layer
FINER = 0.5  # the grid of a bias, beside the one on which its error weighs as much as that of a weight


@door(ConfigError)
@torch.no_grad()
def quantise(
    model: nn.Module,
    batches: Iterable[Inputs],
    *,
    error: float | None = None,
    bits: int | None = None,
    shares: Mapping[str, float] | None = None,
    refit: bool = True,
    feedback: bool = True,
    trellis: bool = True,
    on_step: Watcher = unwatched,
) -> Quantised:
    """A copy of a network on grids; give either `error` or `bits`.

    Convolutions, transposed convolutions and linear layers that are called once get what is described above;
    other parameters of two axes or more are rounded; what is left stays as it is. Weights that are zero stay
    zero.

    Args:
        model: not changed.
        batches: calibration inputs, as the model takes them; read once per layer.
        error: of the outputs of every layer, as a share of their variance.
        bits: of every weight: integers of a layer are at most 2^(bits - 1) - 1 in magnitude.
        shares: by name of a layer, what its error is multiplied with; those not named have 1. None = they are
            measured, see `prunus.quantisation.sharing`.
        refit: whether layers are refitted before they are rounded.
        feedback: whether errors are fed back.
        trellis: whether the rows of a layer walk over two grids in turn, see `prunus.quantisation.trellis`;
            with `error` and feedback, where outputs are the first axis of the weights.
        on_step: called with (layers done, layers in all).

    Raises:
        ConfigError: neither or both of `error` and `bits`, or one out of range.
        PlanError: there are no inputs, or they can be read only once.
    """
    _check(error, bits)
    check_repeatable(batches)
    model = unwrap(model)
    first = next(iter(batches), None)
    if first is None:
        raise ConfigError("There is no batch of calibration inputs; at least one is needed.")
    graph = trace(model, first)
    dense = fold_norms(model, graph)
    found = layers(graph)
    running = copy_model(dense, {})
    original, current = (Resumed(network, graph, first) for network in (copy_model(dense, {}), running))
    if shares is None:
        shares = error_shares(dense, graph, batches) if error is not None else {}
    coded: dict[str, CodedTensor] = {}
    for done, layer in enumerate(found):
        on_step(done, len(found))
        module = dense.get_submodule(layer.name)
        fits = gather(original, current, layer, module, batches, RIDGE)
        share = shares.get(layer.name, 1.0)
        wanted = Wanted(
            None if error is None else min(error * share, MOST),
            bits,
            refit,
            feedback,
            trellis and not _is_transposed(module),
        )
        for name, grid in _grids(dense, layer, fits, wanted).items():
            coded[name] = grid
            _put(running, name, grid)
    on_step(len(found), len(found))
    for name, tensor in named_tensors(dense).items():
        if name not in coded and isinstance(tensor, nn.Parameter) and tensor.dim() > 1:
            coded[name] = _rounded(tensor, error, bits)
    return decoded(dense, coded)


def _check(error: float | None, bits: int | None) -> None:
    if (error is None) == (bits is None):
        raise ConfigError("Give either the error of every layer or the bits of every weight.")
    if error is not None and not 0 < error < 1:
        raise ConfigError(f"error is a share of a layer's variance, above 0 and below 1, not {error}.")
    if bits is not None and not 2 <= bits <= 16:
        raise ConfigError(f"bits must lie between 2 and 16, not {bits}.")


def _grids(model: nn.Module, layer: Layer, fits: list[Fit], wanted: Wanted) -> dict[str, Grid]:
    """The grids of a layer's weight, and of the shift of its outputs where it has a place for one."""
    module: Any = model.get_submodule(layer.name)
    norm: Any = model.get_submodule(layer.norm) if layer.norm else None
    found = grid_of_layer(group_matrices(module, module.weight), fits, wanted, _centred(module, norm))
    integers = from_group_matrices(
        module, found.integers, torch.empty_like(module.weight, dtype=torch.float64)
    )
    grids = {layer.weight: Grid(integers.to(torch.int32).cpu().numpy(), found.step, found.trellis)}
    if module.bias is not None:
        grids[f"{layer.name}.bias".removeprefix(".")] = on_grid(found.shift, bias_step(found, found.shift))
    elif norm is not None:
        shift = found.shift + (norm.bias.double().cpu() if norm.affine else -norm.running_mean.double().cpu())
        grid = on_grid(shift if norm.affine else -shift, bias_step(found, shift))
        grids[f"{layer.norm}.{'bias' if norm.affine else 'running_mean'}"] = grid
    return grids


def _is_transposed(module: Any) -> bool:
    """Whether the outputs are not the first axis of the weights."""
    return bool(getattr(module, "transposed", False))


def _centred(module: Any, norm: Any) -> bool:
    """Whether there is a place for a shift of the outputs."""
    return module.bias is not None or norm is not None


def bias_step(found: LayerGrid, shift: Tensor) -> float:
    """A step for shifts, so that their error is well below that of the weights; at most 16 bits of each."""
    largest = float(shift.abs().max())
    return single(max(FINER * found.plain_step * math.sqrt(found.spread), largest / (2**15 - 1), 1e-30))


def _put(model: nn.Module, name: str, grid: Grid) -> None:
    """The values of a grid into a network."""
    named_tensors(model)[name].copy_(torch.from_numpy(values_of(grid)))


def _rounded(tensor: Tensor, error: float | None, bits: int | None) -> Grid:
    """A tensor that nothing is known about but its values: the same error, relative to its own squares."""
    values = tensor.double()
    if bits is not None:
        step = float(values.abs().max()) / (2 ** (bits - 1) - 1)
    else:
        step = math.sqrt(12 * (error or 0) * float(values.square().mean()))
    return on_grid(tensor, single(step or 1.0))


__all__ = ["quantise"]
