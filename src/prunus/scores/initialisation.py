"""Pruning at initialisation: SNIP (Lee, Ajanthan and Torr 2019, arXiv 1810.02340) and FORCE (de Jorge et al.
2021, arXiv 2006.09081).

SNIP keeps the weights whose removal would change the loss most, c_j = |w_j dL/dw_j|, on one batch at a
variance-preserving initialisation. FORCE asks the same of the *pruned* network, in steps that keep fewer and
fewer weights, keep_t = keep^(t / T), where a weight that was removed may return.

The masks are of single weights, as in the papers; `channel_saliency` adds them up to a score for channels
(our addition).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.errors import PlanError, TargetError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import as_arguments, called
from prunus.paint.model_copy import copy_model, named_tensors
from prunus.scores.reduce import per_channel
from prunus.scores.taylor import Loss

Masks = dict[str, Tensor]
"""Parameter name -> which of its weights stay, bool, of its shape; only of weights, not of biases and
norms.
"""


@door(PlanError)
def snip(model: nn.Module, batch: tuple[Any, Any], loss: Loss, keep: float) -> Masks:
    """The weights with the largest |w g|, of the whole network together.

    Args:
        model: at its initialisation; not changed.
        batch: (inputs, labels), one batch.
        loss: (output, labels) -> scalar.
        keep: share of the weights that stay, in (0, 1].

    Raises:
        TargetError: a share out of range.
    """
    return force(model, [batch], loss, keep, steps=1)


@door(PlanError)
def force(
    model: nn.Module, batches: Iterable[tuple[Any, Any]], loss: Loss, keep: float, steps: int = 10
) -> Masks:
    """Foresight connection sensitivity in steps; one step is SNIP.

    Args:
        model: at its initialisation; not changed.
        batches: (inputs, labels), a batch per step; fewer are used again.
        loss: (output, labels) -> scalar.
        keep: share of the weights that stay at the end, in (0, 1].
        steps: T.

    Raises:
        TargetError: a share or a number of steps out of range, or no batch.
    """
    pairs = list(batches)
    if not 0 < keep <= 1 or steps < 1 or not pairs:
        raise TargetError(
            f"A share lies in (0, 1], steps and batches are at least one; not {keep}, {steps} and"
            f" {len(pairs)}."
        )
    original = {name: tensor.detach().clone() for name, tensor in _weights(model).items()}
    masks = {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in original.items()}
    pruned = copy_model(model, {})
    for step in range(1, steps + 1):
        _load(pruned, {name: tensor * masks[name] for name, tensor in original.items()})
        gradients = _gradients(pruned, pairs[(step - 1) % len(pairs)], loss)
        saliency = {name: (tensor * gradients[name]).abs() for name, tensor in original.items()}
        masks = _largest(saliency, keep ** (step / steps))
    return masks


@door(PlanError)
def channel_saliency(graph: ChannelGraph, batch: tuple[Any, Any], loss: Loss) -> Tensor:
    """Sum of |w g| over all weights that make or read a channel, a score, shape (num_channels,)."""
    model = copy_model(graph.model, {})
    gradients = _gradients(model, batch, loss)
    saliency = {name: (tensor.detach() * gradients[name]).abs() for name, tensor in _weights(model).items()}
    axes = [axis for axis in graph.axes if axis.name in saliency and (axis.channels >= 0).any()]
    return per_channel(graph, axes, lambda rows: rows.double().sum(1), "sum", saliency)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters of two or more dimensions, by name."""
    return {
        name: tensor
        for name, tensor in named_tensors(model).items()
        if isinstance(tensor, nn.Parameter) and tensor.dim() > 1
    }


@torch.no_grad()
def _load(model: nn.Module, values: dict[str, Tensor]) -> None:
    for name, tensor in _weights(model).items():
        tensor.copy_(values[name])


def _gradients(
    model: nn.Module, batch: tuple[Any, Any], loss: Callable[[Any, Any], Tensor]
) -> dict[str, Tensor]:
    """Of the loss by every weight, in training mode, as the papers do; zero where the loss does not depend on
    it.
    """
    weights = _weights(model)
    args, kwargs = as_arguments(batch[0])
    model.train()
    for tensor in weights.values():
        tensor.requires_grad_(True)
    found = torch.autograd.grad(
        loss(called(model, args, kwargs), batch[1]), list(weights.values()), allow_unused=True
    )
    return {
        name: torch.zeros_like(tensor) if gradient is None else gradient
        for (name, tensor), gradient in zip(weights.items(), found)
    }


def _largest(saliency: dict[str, Tensor], share: float) -> Masks:
    """The share of all numbers that are largest, exactly so many; of equal ones the first."""
    together = torch.cat([values.flatten() for values in saliency.values()])
    kept = torch.zeros(len(together), dtype=torch.bool, device=together.device)
    kept[together.argsort(descending=True, stable=True)[: max(1, round(share * len(together)))]] = True
    parts = torch.split(kept, [values.numel() for values in saliency.values()])
    return {name: part.view(values.shape) for (name, values), part in zip(saliency.items(), parts)}
