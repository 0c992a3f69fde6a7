"""Mean activation (Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference,
2017).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import as_arguments, called
from prunus.paint.model_copy import copy_model


@door(PlanError)
def activation_mean(graph: ChannelGraph, batches: Iterable[Any]) -> Tensor:
    """Mean absolute value of what a channel's readers see: the inputs of the convolutions and linear layers
    that take it in.

    Args:
        graph: a traced model.
        batches: inputs as the model takes them, or (inputs, labels) pairs, whose labels are ignored.

    Returns:
        Scores, shape (num_channels,); channels that no such layer reads get the mean score.
    """
    model = copy_model(graph.model, {}).eval()
    readers = {
        axis.name.rpartition(".")[0]: axis
        for axis in graph.axes
        if axis.dim == 1 and not axis.produces and (axis.channels >= 0).any()
    }
    layers = {
        name: module
        for name, module in model.named_modules()
        if name in readers
        and isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))
        and not getattr(module, "transposed", False)
    }
    if not layers:
        raise PlanError(
            f"{type(graph.model).__name__} has no plain layer that reads a channel; choose another score."
        )
    total, seen = (
        torch.zeros(graph.num_channels, dtype=torch.float64),
        torch.zeros(graph.num_channels, dtype=torch.float64),
    )

    def record(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        axis = 1 if isinstance(module, nn.modules.conv._ConvNd) else -1
        x = (args[0] if args else kwargs["input"]).detach().abs().double()
        means = x.movedim(axis, 0).reshape(x.shape[axis], -1).mean(1).to("cpu")
        slots = torch.from_numpy(readers[name].channels)
        # a grouped convolution's weight has one input axis for all of its groups
        slots = slots.repeat(len(means) // len(slots))
        free = slots >= 0
        total.index_add_(0, slots[free], means[free])
        seen.index_add_(0, slots[free], torch.ones_like(means[free]))

    for name, module in layers.items():
        module.register_forward_pre_hook(
            lambda module, args, kwargs, name=name: record(name, module, args, kwargs), with_kwargs=True
        )
    taken = len(graph.inputs[0])
    with torch.no_grad():
        for batch in batches:
            args, kwargs = as_arguments(batch[0] if _has_labels(batch, taken) else batch)
            called(model, args, kwargs)
    if not seen.any():
        raise PlanError("No layer that reads a prunable channel was seen; give at least one batch.")
    scores = total / seen.clamp(min=1)
    scores[seen == 0] = scores[seen > 0].mean()
    return scores


def _has_labels(batch: Any, taken: int) -> bool:
    """Whether a batch is inputs and their labels, of a model that takes so many arguments by place."""
    if not isinstance(batch, (tuple, list)):
        return False
    return len(batch) != taken or (len(batch) == 2 and isinstance(batch[0], (tuple, list, dict)))
