"""Which filters are weak, and what sets them to zero so that they can grow back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.model_copy import named_tensors
from prunus.plans.consumers import norms_behind
from prunus.plans.mask import Zeros, lost_slots
from prunus.scores.reduce import as_rows, combined, norm_scale, weight_axes, wide


def filters(model: nn.Module, graph: ChannelGraph, removed: NDArray[np.bool_], folded: bool) -> list[Zeros]:
    """What makes some channels, but for biases and shifts: weights, or, `folded`, the scale of the batch norm
    behind them where there is one that is trained, as one that is not would never grow back.
    """
    tensors = named_tensors(model)
    behind = {
        weight: norm
        for weight, norm in (_norms(graph) if folded else {}).items()
        if tensors[f"{norm}.weight"].requires_grad
    }
    scales = {f"{norm}.weight" for norm in behind.values()}
    return [
        Zeros(tensors[axis.name], axis.dim, slots.to(tensors[axis.name].device), axis.neutral)
        for axis, slots in lost_slots(graph, removed)
        if axis.is_parameter and axis.produces
        if axis.name in scales or (tensors[axis.name].dim() > 1 and axis.name not in behind)
    ]


@door()
def filter_norms(graph: ChannelGraph, p: float = 2, folded: bool = False) -> Tensor:
    """Mean p-norm of the filters that make a channel, shape (num_channels,); `folded`, with what the batch
    norm behind them multiplies them by.

    The slices that read the channel do not count: soft pruning leaves them alone, and a filter that is zero
    must rank last.
    """
    tensors, behind = named_tensors(graph.model), _norms(graph) if folded else {}

    def norms(axis: Axis) -> Tensor:
        found: Tensor = (
            torch.linalg.vector_norm(wide(as_rows(tensors[axis.name], axis.dim)), p, dim=1).double().cpu()
        )
        return (
            found * norm_scale(graph.model.get_submodule(behind[axis.name])).abs()
            if axis.name in behind
            else found
        )

    return combined(graph, [axis for axis in weight_axes(graph) if axis.produces], norms, "mean")


def _norms(graph: ChannelGraph) -> dict[str, str]:
    """Weight of a layer -> the batch norm behind it, for all layers that have one with a scale, and channels
    in both.
    """
    slots = {
        axis.name: len(axis.channels) for axis in graph.axes if axis.produces and (axis.channels >= 0).any()
    }
    pairs = {f"{name}.weight".removeprefix("."): norm for name, norm in norms_behind(graph).items() if norm}
    return {
        weight: norm
        for weight, norm in pairs.items()
        if weight in slots and slots[weight] == slots.get(f"{norm}.weight")
    }
