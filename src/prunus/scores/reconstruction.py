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
from prunus.scores.norm import norm
from prunus.scores.products import LayerProducts, families

RIDGE = 1e-3
PENDING = 256  # columns that may go before the inverse is brought up to date


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
        Scores, shape (num_channels,), rising in the order in which the channels of a group go; those of
        channels that no plain layer reads follow their norms, around the mean score. In a layer of more than
        `prunus.scores.products.MOST_COLUMNS` columns refitting is no more than a new scale for each channel.

    Raises:
        PlanError: there are no inputs, or they can be read only once.
    """
    scores = torch.full((graph.num_channels,), torch.nan, dtype=torch.float64)
    for family in families(graph, batches):
        _eliminate([Problem(layer, ridge) for layer in family], scores)
    return filled(scores, graph)


def filled(scores: Tensor, graph: ChannelGraph) -> Tensor:
    """A score in place of what is not a number: channels that could not be looked at, as those of layers
    under a weight norm. On average it is the mean score, and within a group it follows the filters' norms, so
    that what goes of a layer about which nothing is known is not what happens to come first.
    """
    unknown = scores.isnan()
    if not unknown.any():
        return scores
    usual = float(scores[~unknown].mean()) if not unknown.all() else 1.0
    worth = norm(graph)
    groups = torch.from_numpy(graph.group_of_channel)
    sizes = torch.bincount(groups, minlength=len(graph.groups))
    means = torch.zeros(len(graph.groups), dtype=torch.float64).index_add_(0, groups, worth) / sizes
    relative = torch.where(means[groups] > 0, worth / means[groups], 1.0)
    size = abs(usual) or torch.finfo(torch.float64).tiny  # scores that are losses may be negative
    scores[unknown] = usual + size * (relative[unknown] - 1.0)
    return scores


class Problem:
    """One layer, or one group of a convolution, that loses input channels and is refitted each time.

    With A the rows of H^-1 of the columns J of a channel that goes, G = (H^-1_JJ)^-1 A and V = W_J, what is
    left has the inverse H^-1 - A^T G and the weight W - V G. These products are put off until there are
    `PENDING` columns of them; only what costs are made of is kept up to date: the blocks of H^-1 and
    of W^T W that belong to each of the channels.

    Args:
        layer: its weight and the moments of its inputs.
        ridge: added to the diagonal of H, relative to its mean.
    """

    def __init__(self, layer: LayerProducts, ridge: float) -> None:
        # a layer that gets nothing but zeros loses nothing
        size = ridge * float(layer.products.diagonal().mean()) or 1.0
        weight = layer.weight.flatten(1)
        self._total = float(((weight @ layer.products) * weight).sum()) or 1.0
        if len(weight) > weight.shape[1]:  # costs ask for W^T W alone, which a smaller matrix has as well
            weight = torch.linalg.qr(weight, mode="r").R
        self._weight, self._inverse = weight, _inverse(layer.products, size)
        columns = layer.columns()
        self._bunches = [Bunch(*one) for one in _by_size(columns)]
        self._home = {channel: bunch for bunch in self._bunches for channel in bunch.channels}
        most = PENDING + max(map(len, columns.values()), default=0)
        self._beside = self._inverse.new_empty(most, len(self._inverse))  # A, G and V of what is put off
        self._gain, self._moved = torch.empty_like(self._beside), weight.new_empty(len(weight), most)
        self._pending = 0
        self._refresh()

    def costs(self) -> dict[int, float]:
        """Of every channel that is left, relative to the variance of the outputs."""
        found: dict[int, float] = {}
        for bunch in self._bunches:
            if bunch.channels:
                found |= bunch.costs(self._total)
        return found

    def remove(self, channel: int) -> None:
        """Refit the weight without a channel."""
        bunch = self._home.pop(channel, None)
        if bunch is None:
            return
        columns = bunch.drop(channel)
        done, after = self._pending, self._pending + len(columns)
        earlier, moved = self._gain[:done], self._moved[:, :done]
        beside = self._inverse[columns] - self._beside[:done, columns].T @ earlier
        gain = torch.linalg.solve(beside[:, columns], beside)
        own = self._weight[:, columns] - moved @ earlier[:, columns]
        crossed = own.T @ self._weight - (own.T @ moved) @ earlier
        for other in self._bunches:
            other.change(beside, gain, crossed, own.T @ own)
        self._beside[done:after], self._gain[done:after], self._moved[:, done:after] = beside, gain, own
        self._pending = after
        if after >= PENDING and self._home:
            self._catch_up()

    def _catch_up(self) -> None:
        """Do what was put off, and forget the rows and columns of what is gone."""
        gain = self._gain[: self._pending]
        self._inverse.addmm_(self._beside[: self._pending].T, gain, alpha=-1)
        self._weight = self._weight - self._moved[:, : self._pending] @ gain
        self._pending = 0
        left = torch.cat([bunch.columns.flatten() for bunch in self._bunches]).sort().values
        if len(left) < 0.75 * len(self._inverse):
            place = torch.zeros(len(self._inverse), dtype=torch.int64)
            place[left] = torch.arange(len(left))
            for bunch in self._bunches:
                bunch.columns = place[bunch.columns]
            self._weight, self._inverse = self._weight[:, left], self._inverse[left][:, left]
            self._beside, self._gain = (one[:, : len(left)].clone() for one in (self._beside, self._gain))
        self._refresh()

    def _refresh(self) -> None:
        for bunch in self._bunches:
            bunch.look(self._inverse, self._weight)


class Bunch:
    """Channels that take equally many columns, and what their costs are made of.

    Args:
        channels: which.
        columns: of each, (channels, columns each).
    """

    def __init__(self, channels: list[int], columns: Tensor) -> None:
        self.channels, self.columns = channels, columns
        self._inverses = self._squares = torch.zeros(0)

    def look(self, inverse: Tensor, weight: Tensor) -> None:
        """Take each channel's blocks of H^-1 and W^T W, (channels, columns each, columns each)."""
        self._inverses = inverse[self.columns[:, :, None], self.columns[:, None, :]]
        weights = weight[:, self.columns].permute(1, 2, 0)
        self._squares = weights @ weights.mT

    def change(self, beside: Tensor, gain: Tensor, crossed: Tensor, squares: Tensor) -> None:
        """Some channel goes: A, G, V^T W and V^T V of it."""
        a, g, x = (one[:, self.columns].permute(1, 2, 0) for one in (beside, gain, crossed))
        self._inverses = self._inverses - a @ g.mT
        mixed = x @ g.mT
        self._squares = self._squares + g @ squares @ g.mT - mixed - mixed.mT

    def costs(self, total: float) -> dict[int, float]:
        """tr(W_J (H^-1_JJ)^-1 W_J^T) of every channel that is left, relative to `total`."""
        costs = torch.linalg.solve(self._inverses, self._squares).diagonal(dim1=1, dim2=2).sum(1) / total
        return dict(zip(self.channels, costs.tolist()))

    def drop(self, channel: int) -> Tensor:
        """Without a channel, whose columns these were."""
        place = self.channels.index(channel)
        columns, others = self.columns[place], torch.arange(len(self.channels)) != place
        self.channels = self.channels[:place] + self.channels[place + 1 :]
        self.columns, self._inverses, self._squares = (
            one[others] for one in (self.columns, self._inverses, self._squares)
        )
        return columns


def _inverse(products: Tensor, size: float) -> Tensor:
    """Of products with `size` added to their diagonal."""
    damped = products.clone()
    damped.diagonal().add_(size)
    factor, failed = torch.linalg.cholesky_ex(damped)
    return torch.linalg.inv(damped) if failed else torch.cholesky_inverse(factor)


def _by_size(columns: dict[int, Tensor]) -> list[tuple[list[int], Tensor]]:
    """Channels with equally many columns, and these as (channels, columns each)."""
    found: dict[int, list[int]] = {}
    for channel, own in columns.items():
        found.setdefault(len(own), []).append(channel)
    return [
        (channels, torch.stack([columns[channel] for channel in channels])) for channels in found.values()
    ]


def _eliminate(problems: list[Problem], scores: Tensor) -> None:
    """Let the channels of a family go one by one, the cheapest of all that are left each time, and write down
    what each costs.
    """
    reached = 0.0
    while total := _total(problems):
        channel = min(total, key=total.__getitem__)
        reached = max(total[channel], math.nextafter(reached, math.inf))
        scores[channel] = reached
        for problem in problems:
            problem.remove(channel)


def _total(problems: Sequence[Problem]) -> dict[int, float]:
    """The costs of channels, summed over all layers that read them."""
    total: dict[int, float] = {}
    for problem in problems:
        for channel, cost in problem.costs().items():
            total[channel] = total.get(channel, 0.0) + cost
    return total
