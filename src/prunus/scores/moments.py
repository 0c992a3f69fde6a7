"""Second moments of the channels of a group, from four sources: noise run through the network, formulas,
batch norms alone, or real inputs.

The products E[y_i y_j] of all pairs of channels say how alike they are: E[(y_i - y_j)^2] = E[y_i^2] +
E[y_j^2] - 2 E[y_i y_j].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus.errors import PlanError
from prunus.observe.capture import check_finite, seen_by_all
from prunus.observe.matrices import channel_axis
from prunus.observe.moments import InputMoments
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.inputs import Inputs, map_tensors, tensors_in
from prunus.paint.model_copy import copy_model, named_tensors
from prunus.plans.consumers import norms_behind, readers
from prunus.plans.verify import drawn_inputs, evaluated_copy, evaluating
from prunus.scores.reduce import as_rows, norm_scale, weight_axes

Products = NDArray[np.float64]
_NOISE = 1 << 22  # numbers in the random inputs
_FEW = 8  # numbers of a channel that have no deviation to speak of


@dataclass(frozen=True, eq=False)
class Seen:
    """One view of some channels: the channel of every slot, -1 where it does not count, and mean and E[y y^T]
    over the slots.
    """

    channels: NDArray[np.int64]
    means: NDArray[np.float64]
    products: Products


def from_weights(graph: ChannelGraph) -> Iterator[Seen]:
    """Outputs of every layer that makes channels, behind its batch norm, for independent inputs of known mean
    and variance (Zhang et al. 2019).

    With filters w and inputs of mean m and variance v: E[y_i y_j] = sum_c w_ic w_jc v_c + mu_i mu_j, where mu
    = sum_c w_c m_c + b, and a batch norm behind is folded into w and b. What comes in is found by running the
    network on noise, see `input_moments`.
    """
    incoming, tensors, behind = input_moments(graph), named_tensors(graph.model), norms_behind(graph)
    for axis in weight_axes(graph):
        if not axis.produces:
            continue
        name = axis.name.rpartition(".")[0]
        weight = as_rows(tensors[axis.name], axis.dim).double().cpu()
        mean, variance = (
            _spread(part, tensors[axis.name], axis)
            for part in incoming.get(name, (torch.zeros(1), torch.ones(1)))
        )
        shift = weight @ mean
        bias = tensors.get(f"{name}.bias")
        if bias is not None and bias.shape == shift.shape:
            shift = shift + bias.detach().double().cpu()
        norm = _affine(graph, behind.get(name, ""))
        if norm is not None and len(norm[0]) == len(shift):
            weight, shift = weight * norm[0][:, None], shift * norm[0] + norm[1]
        yield Seen(
            axis.channels, shift.numpy(), ((weight * variance) @ weight.T + torch.outer(shift, shift)).numpy()
        )


def from_batch_norms(graph: ChannelGraph) -> Iterator[Seen]:
    """Channels are independent and N(beta, gamma^2): a channel is only as near to another as both are small.
    For comparison.
    """
    tensors = named_tensors(graph.model)
    for name, module in graph.model.named_modules():
        axes = [axis for axis in graph.axes if axis.name == f"{name}.weight".removeprefix(".")]
        if isinstance(module, _BatchNorm) and module.affine and axes:
            scale, shift = (
                tensors[f"{name}.{part}".removeprefix(".")].detach().double().cpu()
                for part in ("weight", "bias")
            )
            yield Seen(
                axes[0].channels,
                shift.numpy(),
                (torch.diag(scale.square()) + torch.outer(shift, shift)).numpy(),
            )


def from_inputs(graph: ChannelGraph, batches: Iterable[Inputs]) -> Iterator[Seen]:
    """What the layers that read channels really get, averaged over all places of all calibration inputs."""
    with evaluated_copy(graph.model) as model:
        yield from _got(graph, model, batches)


def from_noise(graph: ChannelGraph) -> Iterator[Seen]:
    """What the layers that read channels get when the network runs on noise with the spectrum of photographs,
    without data.

    Every batch norm gives each channel the mean beta and the deviation gamma that it says it makes, whatever
    the noise came to there. So the moments of single channels are those of the training, and how channels go
    together comes from the filters and all else between them. Our choice.
    """
    model = copy_model(graph.model, {}).float().cpu()
    generator = torch.Generator().manual_seed(0)
    with evaluating(model), _hooked_norms(model, partial(_settled, generator=generator)):
        yield from _got(
            graph, model, (map_tensors(draw, photographic) for draw in _drawn(model, graph, generator))
        )


def _got(graph: ChannelGraph, model: nn.Module, batches: Iterable[Inputs]) -> Iterator[Seen]:
    """What the layers of a model with this graph get."""
    found = {reader.name: reader for reader in readers(graph)}
    if not found:
        raise PlanError(
            f"{type(graph.model).__name__} has no plain layer that reads a channel; choose another score."
        )
    sums: dict[str, InputMoments] = {}
    for seen in seen_by_all(model, found, batches):
        for name, calls in seen.items():
            for inputs, _ in calls:
                x = inputs.movedim(channel_axis(model.get_submodule(name)), -1).flatten(0, -2).float()
                sums.setdefault(name, InputMoments(x.shape[1])).add(x)
    if not sums:
        raise PlanError("There is no batch of calibration inputs; at least one is needed.")
    for name, moments in sums.items():
        check_finite(name, moments.products(centred=False))
        yield Seen(
            np.tile(found[name].inputs, found[name].groups),
            moments.mean().numpy(),
            moments.products(centred=False).numpy(),
        )


def photographic(noise: Tensor) -> Tensor:
    """White noise (batch, channels, *places) with amplitudes that fall as 1 / frequency, as those of
    photographs do, at the same deviation.
    """
    if noise.dim() < 3 or not noise.is_floating_point() or max(noise.shape[2:]) < 2:
        return noise
    axes = tuple(range(2, noise.dim()))
    squares = torch.zeros(noise.shape[2:], dtype=torch.float32)
    for place, size in enumerate(noise.shape[2:]):
        squares += (
            torch.fft.fftfreq(size, dtype=torch.float32)
            .square()
            .view(-1, *(1 for _ in noise.shape[3 + place :]))
        )
    frequency = squares.sqrt().clamp(min=1 / max(noise.shape[2:]))
    shaped: Tensor = torch.fft.ifftn(torch.fft.fftn(noise.float(), dim=axes) / frequency, dim=axes).real
    return shaped.mul(noise.float().std() / shaped.std()).to(noise.dtype)


def input_moments(graph: ChannelGraph) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of every input channel of the convolutions and linear layers, by module name, without
    data.

    The network runs on normal noise, and every batch norm gives, in place of what it would, independent draws
    from N(beta, gamma^2), which is what it says that it makes. So a rectifier's outputs have the moments of a
    rectified normal, whatever other operators there are is run as it is, and nothing has to be known about
    any of them.
    """
    model = copy_model(graph.model, {}).float().cpu()
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))
    }
    generator = torch.Generator().manual_seed(0)
    sums: dict[str, list[Tensor]] = {}
    with evaluating(model), _hooked_norms(model, partial(_independent, generator=generator)):
        for seen in seen_by_all(model, layers, _drawn(model, graph, generator)):
            for name, calls in seen.items():
                for inputs, _ in calls:
                    x = inputs.movedim(channel_axis(layers[name]), 0).flatten(1).double()
                    sums.setdefault(name, []).append(torch.stack([x.mean(1), x.square().mean(1)]))
    found = {}
    for name, parts in sums.items():
        mean, square = torch.stack(parts).mean(0)
        found[name] = mean, (square - mean.square()).clamp(min=0)
    return found


def _drawn(model: nn.Module, graph: ChannelGraph, generator: torch.Generator) -> Iterator[Inputs]:
    """Normal noise in place of the example inputs, often enough for good means, and seldom enough for large
    images.
    """
    numbers = sum(tensor.numel() for tensor in tensors_in(graph.inputs))
    for _ in range(min(64, max(4, _NOISE // max(1, numbers)))):
        args, kwargs = drawn_inputs(model, graph, generator)
        yield kwargs or args


@contextmanager
def _hooked_norms(model: nn.Module, change: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Iterator[None]:
    """What every batch norm with a scale and a shift makes is changed: given the output, and beta and gamma
    in its shape.
    """

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        shape = (1, -1, *(1 for _ in output.shape[2:]))
        return change(
            output, *(module.get_parameter(name).detach().view(shape) for name in ("bias", "weight"))
        )

    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.affine]
    handles = [norm.register_forward_hook(hook) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _independent(output: Tensor, shift: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
    """Independent draws from N(beta, gamma^2)."""
    return torch.randn(output.shape, generator=generator, dtype=torch.float32) * scale + shift


def _settled(output: Tensor, shift: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
    """The output with mean beta and deviation |gamma| in every channel; independent draws where there are too
    few numbers to tell.
    """
    if output.numel() // output.shape[1] < _FEW:
        return _independent(output, shift, scale, generator)
    deviation, mean = torch.std_mean(
        output, [axis for axis in range(output.dim()) if axis != 1], keepdim=True
    )
    return (output - mean) / deviation.clamp(min=1e-12) * scale.abs() + shift


def _spread(part: Tensor, weight: Tensor, axis: Axis) -> Tensor:
    """One number per input channel, repeated as the columns of the layer's filters lie; a plain number is
    everybody's.
    """
    columns = weight.numel() // weight.shape[axis.dim]
    if len(part) == 1:
        return part.double().expand(columns)
    slots = columns // prod(weight.shape[2:])
    per_group = part.view(-1, slots).mean(0) if len(part) % slots == 0 else part.mean().expand(slots)
    return per_group.repeat_interleave(columns // slots)


def _affine(graph: ChannelGraph, name: str) -> tuple[Tensor, Tensor] | None:
    """Scale and shift that a batch norm applies; None if there is none of this name, or it has none."""
    if not name:
        return None
    norm: Any = graph.model.get_submodule(name)
    if norm.running_var is None or not norm.affine:
        return None
    scale = norm_scale(norm)
    return scale, norm.bias.detach().double().cpu() - scale * norm.running_mean.double().cpu()
