"""Additional importance weights: one trainable number per channel, which multiplies all that makes it.

Sawant et al. 2022, compression by additional importance weights of filters (Applied Sciences 12(21), 11184):
y_i = a_i (F_i * x). No formula of theirs is public beyond that; here a channel's weight multiplies all that
makes the channel (see `prunus.surgery.channel_scaling`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import checked
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.scores.reduce import per_channel, weight_axes
from prunus.surgery.channel_scaling import ChannelFactors, makers, on_slots

Start = Literal["ones", "random", "l1", "l2", "std", "entropy", "correlation"]
Importance = Literal["weight", "weight times norm"]
_LEAST = 0.05  # a weight starts at this at least: the filter is divided by it
_BINS = 32


class _Weights(nn.Module):
    """One trainable number per channel."""

    def __init__(self, first: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(first)

    def forward(self) -> Tensor:
        return self.weights


class ImportanceWeights:
    """Puts a trainable weight on every channel of a model, in place, without changing what it computes;
    `fold` takes them off again.

    Args:
        model: the traced model.
        graph: its channels.
        start: what the weights begin with: 1, a random number, or how a filter compares with the largest of
            its group by its l1 norm, l2 norm, standard deviation, the entropy of its values, or its
            dissimilarity, 1 - mean |correlation| with the others. The filters are divided by it.
        seed: of "random".

    Attributes:
        weights: the parameter, shape (num_channels,).

    Raises:
        PlanError: an unknown start, or what `ChannelFactors` raises.
    """

    @checked(PlanError)
    def __init__(self, model: nn.Module, graph: ChannelGraph, start: Start = "ones", seed: int = 0) -> None:
        self._graph = graph
        first = _start(graph, start, seed).float()
        with torch.no_grad():
            for maker in makers(model, graph):
                tensor, channels = maker.tensor, torch.from_numpy(maker.axis.channels).to(maker.tensor.device)
                tensor.sub_(maker.axis.neutral).div_(
                    on_slots(first.to(tensor.device), channels, tensor, maker.axis.dim)
                ).add_(maker.axis.neutral)
        numbers = _Weights(first)
        self._factors = ChannelFactors(model, graph, numbers)
        self.weights = numbers.weights

    def penalty(self, strength: float = 1e-4) -> Tensor:
        """strength * sum |a|, for the loss."""
        return strength * self.weights.abs().sum()

    def importance(self, kind: Importance = "weight") -> Tensor:
        """|a|, or |a| times the l2 norm of what it multiplies, which no rescaling of the two changes; a
        score, shape (num_channels,).
        """
        size = self.weights.detach().abs().double().cpu()
        if kind == "weight":
            return size
        tensors = {axis.name: getattr(module, name).detach() for module, name, axis in self._factors.makers}
        return per_channel(
            self._graph,
            [maker.axis for maker in self._factors.makers],
            lambda rows: rows.double().norm(dim=1),
            "mean",
            tensors,
        )

    def fold(self) -> None:
        """Multiply the weights into what they stand in front of, and take them off: the model has its own
        parameters again.
        """
        self._factors.fold()


def _start(graph: ChannelGraph, start: str, seed: int) -> Tensor:
    """What the weights begin with, (num_channels,)."""
    making = [axis for axis in weight_axes(graph) if axis.produces]
    match start:
        case "ones":
            return torch.ones(graph.num_channels, dtype=torch.float32)
        case "random":
            found = torch.rand(
                graph.num_channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
            )
        case "l1":
            found = per_channel(graph, making, lambda rows: rows.double().abs().sum(1), "mean")
        case "l2":
            found = per_channel(graph, making, lambda rows: rows.double().norm(dim=1), "mean")
        case "std":
            found = per_channel(graph, making, lambda rows: rows.double().std(1, correction=0), "mean")
        case "entropy":
            found = per_channel(graph, making, _entropy, "mean")
        case "correlation":
            found = per_channel(graph, making, _dissimilarity, "mean")
        case _:
            raise PlanError(
                "Importance weights start as 'ones', 'random', 'l1', 'l2', 'std', 'entropy' or"
                f" 'correlation', not {start!r}."
            )
    for group in graph.groups:
        largest = found[group.channels].max()
        found[group.channels] = found[group.channels] / largest if largest > 0 else 1.0
    return found.clamp(min=_LEAST)


def _entropy(rows: Tensor) -> Tensor:
    """Entropy of each filter's values in `_BINS` equal bins over the layer's range, shape (slots,) [nats]."""
    values = rows.double().cpu()
    low, high = values.min(), values.max()
    bins = ((values - low) / (high - low).clamp(min=1e-12) * _BINS).long().clamp(max=_BINS - 1)
    shares = (
        torch.zeros(len(values), _BINS, dtype=torch.float64).scatter_add_(1, bins, torch.ones_like(values))
        / values.shape[1]
    )
    return -(shares * shares.clamp(min=1e-12).log()).sum(1)


def _dissimilarity(rows: Tensor) -> Tensor:
    """1 - mean |correlation| with the other filters of the layer, shape (slots,)."""
    if len(rows) < 2 or rows.shape[1] < 2:
        return torch.ones(len(rows), dtype=torch.float64)
    correlation = torch.from_numpy(np.nan_to_num(np.corrcoef(rows.double().cpu().numpy())))
    return 1 - (correlation.abs().sum(1) - 1) / (len(rows) - 1)
