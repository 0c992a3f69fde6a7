"""Norms of filters: l1 (Li et al., Pruning Filters for Efficient ConvNets, 2017) and l2 (He et al., Soft Filter Pruning, 2018)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..channels.graph import Axis, ChannelGraph
from ..channels.twin import named_tensors
from .reduce import Reduce, as_rows, combined, per_channel, weight_axes, wide


def norm(graph: ChannelGraph, p: float = 2, reduce: Reduce = "mean") -> Tensor:
    """The p-norm of every weight slice that belongs to a channel, ||F||_p = (sum |w|^p)^(1/p): its filters and the slices that read it.

    Args:
        graph: a traced model.
        p: 1, 2, or any positive number.
        reduce: how the slices of one channel are combined; "producer" looks at the filter that makes the channel alone, as the papers do.

    Returns:
        Scores, shape (num_channels,).
    """
    if p not in (1, 2):
        return per_channel(graph, weight_axes(graph), lambda rows: torch.linalg.vector_norm(wide(rows), p, dim=1), reduce)
    tensors = named_tensors(graph.model)

    @lru_cache(maxsize=1)  # both axes of one weight come one after the other
    def powers(name: str) -> Tensor:
        weight = wide(tensors[name].detach()).flatten(1)
        return weight.abs() if p == 1 else weight.square()

    def norms(axis: Axis) -> Tensor:
        sums = powers(axis.name).sum(1 - min(axis.dim, 1))
        if axis.dim > 0:
            # rows are added as they lie in memory, and what belongs to one slot only then: several times faster than gathering slots
            sums = as_rows(sums.view(tensors[axis.name].shape[1:]), axis.dim - 1).sum(1)
        return sums if p == 1 else sums.sqrt()

    return combined(graph, weight_axes(graph), norms, reduce)
