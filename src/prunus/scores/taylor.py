"""First-order Taylor expansion of the loss (Molchanov et al., Importance Estimation for Neural Network
Pruning, 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import as_arguments, called
from prunus.paint.model_copy import copy_model
from prunus.scores.reduce import Reduce, per_channel

Loss = Callable[[Any, Any], Tensor]


@door(PlanError)
def taylor(
    graph: ChannelGraph, batches: Iterable[tuple[Any, Any]], loss: Loss, reduce: Reduce = "sum"
) -> Tensor:
    """The squared first-order change of the loss when a channel goes, (sum_w w * dL/dw)^2, averaged over
    batches.

    The sum runs over every slot of the channel in parameters that make it (filters, biases, norm scales and
    shifts). A copy of the model in eval mode is used, so the model's gradients and statistics stay as they
    are.

    Args:
        graph: a traced model.
        batches: (inputs, labels) pairs; inputs as the model takes them.
        loss: (output, labels) -> scalar.
        reduce: how slots of one channel are combined within a batch, before squaring.

    Returns:
        Scores, shape (num_channels,).
    """
    model = copy_model(graph.model, {}).eval().requires_grad_(True)
    axes = [axis for axis in graph.axes if axis.is_parameter and axis.produces and (axis.channels >= 0).any()]
    total, count = torch.zeros(graph.num_channels, dtype=torch.float64), 0
    for inputs, labels in batches:
        model.zero_grad(set_to_none=True)
        args, kwargs = as_arguments(inputs)
        loss(called(model, args, kwargs), labels).backward()  # type: ignore[no-untyped-call]
        products = {
            name: p.detach() * p.grad if p.grad is not None else torch.zeros_like(p)
            for name, p in model.named_parameters()
        }
        total += per_channel(graph, axes, lambda rows: rows.double().sum(1), reduce, products) ** 2
        count += 1
    if not count:
        raise PlanError("taylor needs at least one batch of inputs and labels.")
    return total / count
