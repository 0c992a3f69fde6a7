"""`mask`: the dense model with every slot of the removed channels set to zero. The yardstick for `compact`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._arguments import door
from .graph import Axis, ChannelGraph
from .plan import Plan
from .resolve import graph_for
from .twin import copy_model, named_tensors, unwrap


@door()
def mask(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of the model in which the removed channels are zero: their filters, biases, norm scales and shifts.

    Input slices of the weights that read these channels are left alone. Running means of removed channels are zeroed too, so that a batch norm
    without affine parameters gives zero.

    Raises PlanError if the plan was made for another model.
    """
    model = unwrap(model)
    graph = graph_for(model, plan)
    removed = plan.removed_in(graph)
    masked = copy_model(model, {})
    set_to_zero(produced(masked, graph, removed))
    return masked


Zeros = tuple[Tensor, int, Tensor]
"""A parameter or buffer, its axis, and the slots of the axis that are to be zero."""


def produced(model: nn.Module, graph: ChannelGraph, removed: NDArray[np.bool_]) -> list[Zeros]:
    """All that makes some channels: filters, biases, scales and shifts of norms, and running means. `model` is the traced one or a copy."""
    tensors = named_tensors(model)
    return [
        (tensors[axis.name], axis.dim, slots.to(tensors[axis.name].device))
        for axis, slots in lost_slots(graph, removed)
        if (axis.is_parameter and axis.produces) or axis.name in graph.reset_means
    ]


def lost_slots(graph: ChannelGraph, removed: NDArray[np.bool_]) -> Iterator[tuple[Axis, Tensor]]:
    """Every axis that loses some slots with the removed channels, and these slots."""
    for axis in graph.axes if len(removed) else ():
        gone = np.flatnonzero((axis.channels >= 0) & removed[axis.channels])
        if len(gone):
            yield axis, torch.from_numpy(gone)


@torch.no_grad()
def set_to_zero(zeros: Iterable[Zeros]) -> None:
    """In place."""
    for tensor, dim, slots in zeros:
        tensor.index_fill_(dim, slots, 0)
