"""Reconstruction error: how much worse the next layers get at making their outputs when a channel goes *and
they are refitted without it*.

The optimal brain surgeon (Hassibi and Stork 1993) for whole channels and one layer's squared error, as in
Kurtic, Frantar and Alistarh 2023, "ZipLM" (arXiv 2302.04089): with H = E[x x^T] of a layer's inputs, removing
the columns J of its weight W and refitting the rest costs

    tr(W_J (H^-1_JJ)^-1 W_J^T),

after which W and H^-1 are those of what is left. Our choice: coupled channels, whose cost is the sum over all
layers that read them, each relative to the variance of its own outputs, so that layers can be compared; and
variances in place of second moments wherever the layer can make up for a mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.scores.products import LayerProducts, families

RIDGE = 1e-3
AT_ONCE = 64  # channels that may go before all others are looked at again


@door(PlanError)
def reconstruction(graph: ChannelGraph, batches: Iterable[Inputs], *, ridge: float = RIDGE) -> Tensor:
    """The cost of every channel at the moment when it is the cheapest of those that are left, as channels go
    one by one.

    Args:
        graph: a traced model.
        batches: calibration inputs, as the model takes them; read once for a small network, several times for
            a large one.
        ridge: added to the diagonal of H, relative to its mean.

    Returns:
        Scores, shape (num_channels,), rising in the order in which the channels of a group go; channels that
        no plain layer of at most `prunus.scores.products.MOST_COLUMNS` columns reads get the mean score.

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
    """One layer, or one group of a convolution, that loses input channels and is refitted each time.

    Args:
        layer: its weight and the moments of its inputs.
        ridge: added to the diagonal of H, relative to its mean.
    """

    def __init__(self, layer: LayerProducts, ridge: float) -> None:
        # a layer that gets nothing but zeros loses nothing
        size = ridge * float(layer.products.diagonal().mean()) or 1.0
        damped = layer.products + size * torch.eye(len(layer.products), dtype=torch.float64)
        self._weight, self._inverse = layer.weight.flatten(1), torch.linalg.inv(damped)
        self._total = float(((self._weight @ layer.products) * self._weight).sum()) or 1.0
        self._left, self._columns = torch.ones(len(damped), dtype=torch.bool), layer.columns()

    def costs(self) -> dict[int, float]:
        """Of every channel that is left, relative to the variance of the outputs."""
        found: dict[int, float] = {}
        for channels, columns in _by_size(self._columns):
            weights = self._weight[:, columns].permute(1, 2, 0)
            found |= _costs(
                channels,
                self._inverse[columns[:, :, None], columns[:, None, :]],
                weights @ weights.mT,
                self._total,
            )
        return found

    def among(self, channels: list[int]) -> Few:
        """The same problem, of which only the costs of these channels are asked."""
        mine = [channel for channel in channels if channel in self._columns]
        columns = (
            torch.cat([self._columns[channel] for channel in mine])
            if mine
            else torch.zeros(0, dtype=torch.int64)
        )
        weight, counts = self._weight[:, columns], [len(self._columns[channel]) for channel in mine]
        places = dict(zip(mine, torch.split(torch.arange(len(columns)), counts)))
        return Few(places, self._inverse[columns][:, columns], weight.T @ weight, self._total)

    def remove(self, channels: list[int]) -> None:
        """Refit the weight without some channels."""
        mine = [self._columns.pop(channel) for channel in channels if channel in self._columns]
        if not mine:
            return
        columns = torch.cat(mine)
        beside = self._inverse[columns]
        gain = torch.linalg.solve(beside[:, columns], beside)
        self._weight = self._weight - self._weight[:, columns] @ gain
        self._inverse = self._inverse.addmm_(beside.T, gain, alpha=-1)
        self._left[columns] = False
        if int(self._left.sum()) < 0.75 * len(self._left):
            self._shrink()

    def _shrink(self) -> None:
        """Forget the rows and columns of what is gone."""
        place = self._left.cumsum(0) - 1
        self._columns = {channel: place[columns] for channel, columns in self._columns.items()}
        self._weight, self._inverse = self._weight[:, self._left], self._inverse[self._left][:, self._left]
        self._left = torch.ones(len(self._inverse), dtype=torch.bool)


class Few:
    """What a `Problem` is for some of its channels: their costs, whichever of them go, need no more than
    their own rows and columns.

    Args:
        columns: of every channel, in the two that follow.
        inverse: H^-1 there.
        squares: W^T W there.
        total: what costs are relative to.
    """

    def __init__(self, columns: dict[int, Tensor], inverse: Tensor, squares: Tensor, total: float) -> None:
        self._columns, self._inverse, self._squares, self._total = columns, inverse, squares, total

    def costs(self) -> dict[int, float]:
        """Of every channel that is left."""
        found: dict[int, float] = {}
        for channels, columns in _by_size(self._columns):
            blocks = columns[:, :, None], columns[:, None, :]
            found |= _costs(channels, self._inverse[blocks], self._squares[blocks], self._total)
        return found

    def remove(self, channel: int) -> None:
        """Refit without a channel."""
        columns = self._columns.pop(channel, None)
        if columns is None:
            return
        beside = self._inverse[columns]
        gain = torch.linalg.solve(beside[:, columns], beside)
        crossed = self._squares[:, columns] @ gain
        self._squares = self._squares - crossed - crossed.T + gain.T @ crossed[columns]
        self._inverse = self._inverse - beside.T @ gain


def _by_size(columns: dict[int, Tensor]) -> list[tuple[list[int], Tensor]]:
    """Channels with equally many columns, and these as (channels, columns each)."""
    found: dict[int, list[int]] = {}
    for channel, own in columns.items():
        found.setdefault(len(own), []).append(channel)
    return [
        (channels, torch.stack([columns[channel] for channel in channels])) for channels in found.values()
    ]


def _costs(channels: list[int], inverses: Tensor, squares: Tensor, total: float) -> dict[int, float]:
    """tr(W_J (H^-1_JJ)^-1 W_J^T) of channels with blocks of H^-1 and W^T W, (channels, columns each, columns
    each).
    """
    costs = torch.linalg.solve(inverses, squares).diagonal(dim1=1, dim2=2).sum(1) / total
    return dict(zip(channels, costs.tolist()))


def _eliminate(problems: list[Problem], scores: Tensor) -> None:
    """Let the channels of a family go one by one, and write down what each costs.

    The costs of all are asked once for `AT_ONCE` channels or fewer: the cheapest go, one by one, for as long
    as each costs less than the cheapest of the others did. That is what asking all of them each time gives,
    unless the others become cheaper meanwhile.
    """
    reached = 0.0
    while total := _total(problems):
        ranked = sorted(total, key=total.__getitem__)
        limit = total[ranked[AT_ONCE]] if len(ranked) > AT_ONCE else math.inf
        few = [problem.among(ranked[:AT_ONCE]) for problem in problems]
        gone: list[int] = []
        while costs := _total(few):
            channel = min(costs, key=costs.__getitem__)
            if gone and costs[channel] > limit:
                break
            reached = max(costs[channel], math.nextafter(reached, math.inf))
            scores[channel] = reached
            gone.append(channel)
            for one in few:
                one.remove(channel)
        for problem in problems:
            problem.remove(gone)


def _total(problems: Sequence[Problem | Few]) -> dict[int, float]:
    """The costs of channels, summed over all layers that read them."""
    total: dict[int, float] = {}
    for problem in problems:
        for channel, cost in problem.costs().items():
            total[channel] = total.get(channel, 0.0) + cost
    return total
