"""Geometric median (He et al., Filter Pruning via Geometric Median, 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.scores.reduce import Reduce, per_channel, weight_axes


@door(PlanError)
def geometric_median(graph: ChannelGraph, reduce: Reduce = "producer") -> Tensor:
    """The sum of distances of a filter to all other filters of its layer: the filter nearest the geometric
    median is the one others can replace.

    Returns:
        Scores, shape (num_channels,); low = replaceable.
    """
    return per_channel(graph, weight_axes(graph), _distances, reduce)


def _distances(rows: Tensor) -> Tensor:
    values = rows.double()
    return torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
