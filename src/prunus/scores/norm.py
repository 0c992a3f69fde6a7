"""Norms of filters: l1 (Li et al., Pruning Filters for Efficient ConvNets, 2017) and l2 (He et al., Soft
Filter Pruning, 2018).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.model_copy import named_tensors
from prunus.scores.reduce import Reduce, as_rows, combined, per_channel, weight_axes, wide

_BLOCK = 1 << 18  # numbers


@door(PlanError)
def norm(graph: ChannelGraph, p: float = 2, reduce: Reduce = "mean") -> Tensor:
    """The p-norm of every weight slice that belongs to a channel, ||F||_p = (sum |w|^p)^(1/p): its filters
    and the slices that read it.

    Args:
        graph: a traced model.
        p: 1, 2, or any positive number.
        reduce: how the slices of one channel are combined; "producer" looks at the filter that makes the
            channel alone, as the papers do.

    Returns:
        Scores, shape (num_channels,).
    """
    if p not in (1, 2):
        return per_channel(
            graph, weight_axes(graph), lambda rows: torch.linalg.vector_norm(wide(rows), p, dim=1), reduce
        )
    tensors = named_tensors(graph.model)

    @lru_cache(maxsize=1)  # both axes of one weight come one after the other
    def sums(name: str) -> tuple[Tensor, Tensor]:
        return _sums_of_powers(tensors[name].detach().flatten(1), p)

    def norms(axis: Axis) -> Tensor:
        rows, columns = sums(axis.name)
        shape = tensors[axis.name].shape
        powers = (
            rows
            if axis.dim == 0
            else columns.view(shape[1], -1).sum(1)
            if axis.dim == 1
            else as_rows(columns.view(shape[1:]), axis.dim - 1).sum(1)
        )
        return powers if p == 1 else powers.sqrt()

    return combined(graph, weight_axes(graph), norms, reduce)


def _sums_of_powers(weight: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Sums of |w| (p = 1) or w^2 (p = 2) along rows and columns of a matrix, in one pass through memory,
    block by block so that it stays in cache.
    """
    if weight.numel() <= _BLOCK:
        powers = wide(weight).abs() if p == 1 else wide(weight).square()
        return powers.sum(1), powers.sum(0, dtype=torch.float64)
    rows, columns = [], weight.new_zeros(weight.shape[1], dtype=torch.float64)
    for block in torch.split(weight, max(1, _BLOCK // max(1, weight.shape[1]))):
        powers = wide(block).abs() if p == 1 else wide(block).square()
        rows.append(powers.sum(1))
        columns += powers.sum(0)
    return torch.cat(rows), columns
