"""`mask`: the dense model with every slot that makes a removed channel set to zero. The yardstick for
`compact`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.model_copy import copy_model, named_tensors, unwrap
from prunus.plans.plan import Plan
from prunus.plans.resolve import graph_for


@door()
def mask(model: nn.Module, plan: Plan) -> nn.Module:
    """A copy of the model in which the removed channels are zero: their filters, biases, scales and shifts,
    in parameters and in buffers.

    Slices of weights that read these channels are left alone where nothing else looks at them. What is
    divided by, or its logarithm taken, is one instead of zero.

    Raises PlanError if the plan was made for another model.
    """
    model = unwrap(model)
    graph = graph_for(model, plan)
    removed = plan.removed_in(graph)
    masked = copy_model(model, {})
    set_to_zero(produced(masked, graph, removed))
    return masked


class Zeros(NamedTuple):
    """A parameter or buffer, its axis, the slots of the axis that are to be zero, and what they are set to:
    one, where zero would be divided by.
    """

    tensor: Tensor
    dim: int
    slots: Tensor
    value: float = 0.0


def produced(model: nn.Module, graph: ChannelGraph, removed: NDArray[np.bool_]) -> list[Zeros]:
    """All that makes some channels: filters, biases, scales, shifts and statistics of norms. `model` is the
    traced one or a copy.
    """
    tensors = named_tensors(model)
    return [
        Zeros(tensors[axis.name], axis.dim, slots.to(tensors[axis.name].device), axis.neutral)
        for axis, slots in lost_slots(graph, removed)
        if axis.zeroed
    ]


def lost_slots(graph: ChannelGraph, removed: NDArray[np.bool_]) -> Iterator[tuple[Axis, Tensor]]:
    """Every axis that loses some slots with the removed channels, and these slots."""
    found: dict[int, Tensor] = {}  # axes of one pattern lose the same slots
    for axis in graph.axes if len(removed) else ():
        if axis.pattern and axis.pattern not in found:
            found[axis.pattern] = torch.from_numpy(
                np.flatnonzero((axis.channels >= 0) & removed[axis.channels])
            )
        if axis.pattern and len(found[axis.pattern]):
            yield axis, found[axis.pattern]


@torch.no_grad()
def set_to_zero(zeros: Iterable[Zeros]) -> None:
    """In place."""
    for tensor, dim, slots, value in zeros:
        tensor.index_fill_(dim, slots, value)
