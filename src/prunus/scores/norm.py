"""Norms of filters: l1 (Li et al., Pruning Filters for Efficient ConvNets, 2017) and l2 (He et al., Soft Filter Pruning, 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..channels.graph import ChannelGraph
from .reduce import Reduce, per_channel, weight_axes, wide


def norm(graph: ChannelGraph, p: float = 2, reduce: Reduce = "mean") -> Tensor:
    """The p-norm of every weight slice that belongs to a channel, ||F||_p = (sum |w|^p)^(1/p): its filters and the slices that read it.

    Args:
        graph: a traced model.
        p: 1, 2, or any positive number.
        reduce: how the slices of one channel are combined; "producer" looks at the filter that makes the channel alone, as the papers do.

    Returns:
        Scores, shape (num_channels,).
    """
    return per_channel(graph, weight_axes(graph), lambda rows: torch.linalg.vector_norm(wide(rows), p, dim=1), reduce)
