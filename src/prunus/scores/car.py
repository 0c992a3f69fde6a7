"""Classification accuracy reduction (Abbasi-Asl and Yu, "Structural Compression of Convolutional Neural
Networks", arXiv 1705.07356, Frontiers in Big Data 2021): how many points of accuracy the network loses
without a filter.

    CAR(l, i) = accuracy(network) - accuracy(network without filter i of layer l)

Greedily, as in the paper: the filter with the smallest reduction goes, and all others are measured again
without it. n filters cost n^2 / 2 evaluations, so the metric had better look at few samples. With a metric of
a regression it is the paper's RAR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import copy_model
from prunus.planning.space import matching
from prunus.plans.mask import produced, set_to_zero
from prunus.plans.verify import evaluating
from prunus.scores.norm import norm
from prunus.scores.reconstruction import filled


@door(PlanError)
def car(
    graph: ChannelGraph,
    evaluate: Callable[[nn.Module], float],
    *,
    layers: Sequence[str] = ("*",),
    greedy: bool = True,
) -> Tensor:
    """The reduction of the metric without a channel and, greedily, without all of its group that went before
    it; every group for itself.

    Args:
        graph: a traced model.
        evaluate: model -> metric in points, higher is better; on held-out data, never on the test set.
        layers: glob patterns of the layers that are looked at; those of others follow their norms.
        greedy: measure again after every removal; otherwise once.

    Returns:
        Scores, shape (num_channels,); of equal ones the channel with the smaller norm is the lower.

    Raises:
        PlanError: a pattern that matches nothing.
    """
    model = copy_model(graph.model, {})
    scores = torch.full((graph.num_channels,), torch.nan, dtype=torch.float64)
    size = norm(graph)
    groups = {group.index: group for pattern in layers for group in matching(graph, pattern)}
    with evaluating(model):
        base = float(evaluate(model))
        for group in groups.values():
            left, reached = group.channels.tolist(), -math.inf
            gone: list[int] = []
            while left:
                losses = {
                    channel: base - _without(model, graph, [*gone, channel], evaluate) for channel in left
                }
                order = sorted(left, key=lambda channel: (losses[channel], float(size[channel])))
                for channel in order[: 1 if greedy else None]:
                    reached = max(losses[channel], math.nextafter(reached, math.inf))
                    scores[channel] = reached
                    left.remove(channel)
                    gone.append(channel)
    return filled(scores, graph)


def _without(
    model: nn.Module, graph: ChannelGraph, channels: Sequence[int], evaluate: Callable[[nn.Module], float]
) -> float:
    """The metric of the model with some channels set to zero; it is as before afterwards."""
    removed = np.zeros(graph.num_channels, dtype=bool)
    removed[list(channels)] = True
    with _zeroed(model, graph, removed):
        return float(evaluate(model))


@contextmanager
def _zeroed(
    model: nn.Module, graph: ChannelGraph, removed: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> Iterator[None]:
    zeros = produced(model, graph, removed)
    saved = [zero.tensor.detach().index_select(zero.dim, zero.slots) for zero in zeros]
    set_to_zero(zeros)
    try:
        yield
    finally:
        with torch.no_grad():
            for zero, values in zip(zeros, saved):
                zero.tensor.index_copy_(zero.dim, zero.slots, values)
