"""Units that quantisation left nothing of."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import named_tensors
from prunus.plans.plan import Plan, make_plan


def zeroed(graph: ChannelGraph, model: nn.Module) -> Plan:
    """The channels that no weight makes, or that no weight reads; every group keeps one channel at least.

    What no weight reads goes without a trace. What no weight makes is a constant, from biases and norms,
    which `prunus.compensation.restore_means` moves into the layers that read it.

    Args:
        graph: of the model, or of one of the same architecture.
        model: whose weights are looked at.
    """
    unmade = _all_zero(graph, model, consumed=False)
    unread = _all_zero(graph, model, consumed=True)
    removed = unmade | unread
    for group in graph.groups:
        if removed[group.channels].all():
            removed[group.channels[0]] = False
    return make_plan(graph, removed)


def _all_zero(graph: ChannelGraph, model: nn.Module, consumed: bool) -> NDArray[np.bool_]:
    """Channels with slots in weights that read them (`consumed`) or make them, which are all zero."""
    tensors = named_tensors(model)
    known, filled = np.zeros(graph.num_channels, dtype=bool), np.zeros(graph.num_channels, dtype=bool)
    for axis in graph.axes:
        fits = axis.consumed if consumed else axis.produces and not axis.consumed
        tensor = tensors.get(axis.name)
        if not (fits and axis.is_parameter) or tensor is None or tensor.dim() < 2:
            continue
        slots = tensor.detach().movedim(axis.dim, 0).flatten(1)
        some = torch.any(slots != 0, 1).cpu().numpy()
        inside = axis.channels >= 0
        known[axis.channels[inside]] = True
        filled[axis.channels[inside & some]] = True
    return known & ~filled


__all__ = ["zeroed"]
