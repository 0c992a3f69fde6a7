"""Random scores: the control that every criterion must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph


@door(PlanError)
def random(graph: ChannelGraph, seed: int = 0) -> Tensor:
    """Uniform random numbers from a seed, shape (num_channels,)."""
    return torch.rand(graph.num_channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
