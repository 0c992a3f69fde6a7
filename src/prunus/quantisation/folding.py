"""Batch norms folded into the layer before them, inside the user's own class.

The class does not change, so the norm stays, and does nothing but add: its weight and the square root that it
divides by are exactly 1, its mean is 0. What it was is in the layer's weight, and in one shift per channel.
So the layer's weight is what is multiplied, tensors that are constant cost nothing to code, and an exporter
that folds finds exactly these values.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus._foundation.arguments import door
from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import walk
from prunus.quantisation.layers import NORMS, Layer, layers
from prunus.quantisation.quantised import own_copy


@door()
@torch.no_grad()
def fold_norms(model: nn.Module, graph: ChannelGraph) -> nn.Module:
    """A copy of a model, in evaluation mode, whose batch norms are folded into the convolution or linear
    layer whose output they alone read; it computes the same there. All others stay as they are.

    In train mode a norm divides by the deviation of its batch again: the copy is for evaluation.

    Args:
        model: not changed.
        graph: of the model.
    """
    folded = own_copy(model).eval()
    for layer in layers(graph):
        if layer.norm:
            _fold(folded, layer)
    return folded


@torch.no_grad()
def condense_norms(model: nn.Module) -> tuple[nn.Module, list[str]]:
    """A copy of a model, in evaluation mode, whose batch norms hold nothing but a scale and a shift, and the
    names of these; it computes the same.

    For norms that are not folded: of four numbers per channel two become constant.
    """
    condensed = own_copy(model).eval()
    names = []
    for path, norm in walk(condensed).items():
        if (
            type(norm) in NORMS
            and isinstance(norm, _BatchNorm)
            and norm.affine
            and norm.running_mean is not None
        ):
            scale, shift = scale_and_shift(norm)
            set_shift(norm, shift)
            norm.weight.copy_(scale.to(norm.weight.dtype))
            names += [f"{path}.{own}".removeprefix(".") for own in ("weight", "bias")]
    return condensed, names


def _fold(model: nn.Module, layer: Layer) -> None:
    """Scale and shift of a norm into the layer before it."""
    module, norm = model.get_submodule(layer.name), model.get_submodule(layer.norm)
    assert isinstance(norm, _BatchNorm) and isinstance(module.weight, Tensor)
    scale, shift = scale_and_shift(norm)
    scale_outputs(module, module.weight, scale)
    if isinstance(module.bias, Tensor):
        module.bias.copy_((module.bias.double() * scale + shift).to(module.bias.dtype))
        shift = torch.zeros_like(shift)
    set_shift(norm, shift)


def scale_outputs(module: nn.Module, weight: Tensor, scale: Tensor) -> None:
    """Multiply what makes each output channel of a layer, in place, by its entry of `scale`, (channels,)."""
    ones = [1] * (weight.dim() - 2)
    if getattr(module, "transposed", False):
        groups: int = module.groups  # type: ignore[assignment]
        parts, factor = weight.view(groups, -1, *weight.shape[1:]), scale.view(groups, 1, -1, *ones)
    else:
        parts, factor = weight, scale.view(-1, 1, *ones)
    parts.copy_((parts.double() * factor).to(weight.dtype))


def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """What a norm multiplies with in evaluation mode, and what it adds then, float64 (channels,)."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift + norm.bias.double() if norm.affine else shift


def set_shift(norm: _BatchNorm, shift: Tensor) -> None:
    """Make a norm add a shift (channels,) and do nothing else."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_var.fill_(unit_variance(norm.eps, norm.running_var.dtype))
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.zero_()
    if norm.affine:
        norm.running_mean.zero_()
        norm.weight.fill_(1)
        norm.bias.copy_(shift.to(norm.bias.dtype))
    else:
        norm.running_mean.copy_((-shift).to(norm.running_mean.dtype))


def unit_variance(eps: float, dtype: torch.dtype) -> float:
    """The variance that with `eps` on top is exactly 1 in a precision, whether `eps` is rounded first or not.

    Of half precisions the sum is taken in single precision, as torch does.
    """
    kind = np.float64 if dtype is torch.float64 else np.float32
    variance = kind(1.0 - eps)
    for candidate in (variance, np.nextafter(variance, kind(2)), np.nextafter(variance, kind(0))):
        if kind(candidate) + kind(eps) == kind(1):
            return float(candidate)
    return float(variance)


__all__ = ["condense_norms", "fold_norms", "scale_and_shift", "set_shift", "unit_variance"]
