"""Reconstruction error: how much worse the next layers get at making their outputs when a channel goes *and they are refitted without it*.

The optimal brain surgeon (Hassibi and Stork 1993) for whole channels and one layer's squared error, as in Kurtic, Frantar and Alistarh 2023, "ZipLM"
(arXiv 2302.04089): with H = E[x x^T] of a layer's inputs, removing the columns J of its weight W and refitting the rest costs

    tr(W_J (H^-1_JJ)^-1 W_J^T),

after which W and H^-1 are those of what is left. Our choice: coupled channels, whose cost is the sum over all layers that read them, each relative
to the variance of its own outputs, so that layers can be compared; and variances in place of second moments wherever the layer can make up for a
mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ..channels import ChannelGraph
from ..channels.trace import Inputs
from .products import LayerProducts, families

RIDGE = 1e-3


def reconstruction(graph: ChannelGraph, batches: Iterable[Inputs], *, ridge: float = RIDGE) -> Tensor:
    """The cost of every channel at the moment when it is the cheapest of those that are left, as channels go one by one.

    Args:
        graph: a traced model.
        batches: calibration inputs, as the model takes them; read once for a small network, several times for a large one.
        ridge: added to the diagonal of H, relative to its mean.

    Returns:
        Scores, shape (num_channels,), rising in the order in which the channels of a group go; channels that no plain layer of at most
        `prunus.scores.products.MOST_COLUMNS` columns reads get the mean score.

    Raises:
        PlanError: there are no inputs, or they can be read only once.
    """
    scores = torch.full((graph.num_channels,), torch.nan, dtype=torch.float64)
    for family in families(graph, batches):
        _eliminate([Problem(layer, ridge) for layer in family], scores)
    return filled(scores)


def filled(scores: Tensor) -> Tensor:
    """The mean score in place of what is not a number: channels that could not be looked at."""
    unknown = scores.isnan()
    scores[unknown] = scores[~unknown].mean() if not unknown.all() else 0.0
    return scores


class Problem:
    """One layer, or one group of a convolution, that loses input channels one by one and is refitted each time.

    Args:
        layer: its weight and the moments of its inputs.
        ridge: added to the diagonal of H, relative to its mean.
    """

    def __init__(self, layer: LayerProducts, ridge: float) -> None:
        size = ridge * float(layer.products.diagonal().mean()) or 1.0  # a layer that gets nothing but zeros loses nothing
        damped = layer.products + size * torch.eye(len(layer.products), dtype=torch.float64)
        self._weight, self._inverse = layer.weight.flatten(1), torch.linalg.inv(damped)
        self._total = float(((self._weight @ layer.products) * self._weight).sum()) or 1.0
        self._left, self._columns = torch.ones(len(damped), dtype=torch.bool), layer.columns()

    def costs(self) -> dict[int, float]:
        """Of every channel that is left, relative to the variance of the outputs."""
        by_size: dict[int, list[int]] = {}
        for channel, columns in self._columns.items():
            by_size.setdefault(len(columns), []).append(channel)
        result: dict[int, float] = {}
        for channels in by_size.values():
            columns = torch.stack([self._columns[channel] for channel in channels])
            blocks = self._inverse[columns[:, :, None], columns[:, None, :]]
            weights = self._weight[:, columns].permute(1, 2, 0)
            costs = (weights * torch.linalg.solve(blocks, weights)).sum((1, 2)) / self._total
            result |= dict(zip(channels, costs.tolist()))
        return result

    def remove(self, channel: int) -> None:
        """Refit the weight without a channel."""
        columns = self._columns.pop(channel)
        beside = self._inverse[columns]
        gain = torch.linalg.solve(beside[:, columns], beside)
        self._weight = self._weight - self._weight[:, columns] @ gain
        self._inverse = self._inverse - beside.T @ gain
        self._left[columns] = False
        if int(self._left.sum()) < 0.75 * len(self._left):
            self._shrink()

    def _shrink(self) -> None:
        """Forget the rows and columns of what is gone."""
        place = self._left.cumsum(0) - 1
        self._columns = {channel: place[columns] for channel, columns in self._columns.items()}
        self._weight, self._inverse = self._weight[:, self._left], self._inverse[self._left][:, self._left]
        self._left = torch.ones(len(self._inverse), dtype=torch.bool)


def _eliminate(problems: list[Problem], scores: Tensor) -> None:
    """Let the channels of a family go one by one, and write down what each costs."""
    costs = [problem.costs() for problem in problems]
    total: dict[int, float] = {}
    for one in costs:
        for channel, cost in one.items():
            total[channel] = total.get(channel, 0.0) + cost
    reached = 0.0
    while total:
        channel = min(total, key=total.__getitem__)
        reached = max(total.pop(channel), math.nextafter(reached, math.inf))
        scores[channel] = reached
        for index, problem in enumerate(problems):
            if channel in costs[index]:
                problem.remove(channel)
                before, costs[index] = costs[index], problem.costs()
                for other, cost in costs[index].items():
                    total[other] += cost - before[other]
