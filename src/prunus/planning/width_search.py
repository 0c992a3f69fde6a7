"""Widths on the edges of the machine's stairs: the numbers of channels that keep a time and lose little.

The time of a network is taken for the sum of its layers' times at their widths (`prunus.measure.probe`) and
of the rest, which moves memory and so grows with the activations. Layers share widths, so that the choice is
no plain knapsack: under a price for time [loss per ms] every group in turn takes its best number of channels,
the others being what they are, until nothing changes; the price is bisected, what is left of the time is
filled up, and groups exchange time as long as that loses less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prunus.measure.probe import Table
from prunus.measure.shapes import TimedLayers
from prunus.paint.graph import ChannelGraph

Kept = NDArray[np.int64]
Times = NDArray[np.float64]

PRICES = 40  # halvings of the price, at most
SWEEPS = 12  # over all groups, at one price, at most
EXCHANGES = 8  # over all groups, at most
WORTH_WHILE = 1e-3  # of the loss, which a round of exchanges has to save for another one
NEIGHBOURS = 2  # levels up and down that an exchange tries


class Clocked:
    """The predicted time of a network at any numbers of channels kept per group.

    Args:
        graph: the traced network.
        layers: its timed layers.
        tables: one per layer.
        dense_ms: what the dense network takes, measured.
    """

    def __init__(
        self, graph: ChannelGraph, layers: TimedLayers, tables: list[Table], dense_ms: float
    ) -> None:
        self._layers, self._tables = layers, tables
        self.full = np.array([group.size for group in graph.groups], dtype=np.int64)
        own = float(self.of_layers(self.full).sum())
        # Where the layers alone take longer than the network does (a runtime that fuses more of it), they are
        # taken for quicker than measured.
        self._scale = min(1.0, dense_ms / own) if own else 1.0
        rest = max(0.0, dense_ms - own)
        self._per_channel = rest * _activation_shares(graph, self.full)
        self._fixed = rest - float(self._per_channel @ self.full)
        # The layers whose time a group's width changes.
        self._touched = [
            np.flatnonzero(layers.per_group[:, :, group].any(axis=0)) for group in range(len(graph.groups))
        ]

    def of_layers(self, kept: Kept) -> Times:
        """Milliseconds of every layer, as probed, shape (layers,)."""
        read, made = self._layers.widths(kept)
        return np.array([float(table.at(r, m)) for table, r, m in zip(self._tables, read, made)])

    def of(self, kept: Kept) -> float:
        """Milliseconds of the network."""
        return self._scale * float(self.of_layers(kept).sum()) + self._fixed + float(self._per_channel @ kept)

    def neighbours(self) -> list[Kept]:
        """Per group, the groups whose numbers decide with its own what its layers take."""
        shared = self._layers.per_group.sum(axis=0) > 0  # (layers, groups)
        return [
            np.flatnonzero(shared[touched].any(axis=0) & (np.arange(len(self.full)) != group))
            for group, touched in enumerate(self._touched)
        ]

    def around(self, kept: Kept, group: int, levels: Kept) -> Times:
        """What the network takes at each of these numbers of one group, up to a constant, shape (levels,)."""
        trials = np.repeat(kept[None], len(levels), axis=0)
        trials[:, group] = levels
        read, made = self._layers.widths(trials)
        total = self._per_channel[group] * levels
        for layer in self._touched[group]:
            total = total + self._scale * self._tables[layer].at(read[:, layer], made[:, layer])
        return np.asarray(total, dtype=np.float64)


def _activation_shares(graph: ChannelGraph, full: Kept) -> Times:
    """Of all bytes of activations, the share that one channel of every group makes, shape (groups,)."""
    total = graph.costs.activation_bytes(full)
    one = np.eye(len(full), dtype=np.int64)
    return np.array([total - graph.costs.activation_bytes(full - row) for row in one]) / max(1.0, total)


class Costs(Protocol):
    """What a network costs at any widths: milliseconds, or anything else that falls with them."""

    def of(self, kept: Kept) -> float:
        """The whole network's."""

    def neighbours(self) -> list[Kept]:
        """Per group, the groups whose numbers decide with its own what its layers cost."""

    def around(self, kept: Kept, group: int, levels: Kept) -> Times:
        """The cost at each of these numbers of one group, up to a constant, shape (levels,)."""


class Choices:
    """What may be kept of every group, what that loses, and what the network then costs: how long it takes,
    here.

    Args:
        clocked: predicts times, or counts other costs.
        levels: per group the numbers that may be kept, ascending.
        losses: per group what goes at each of them, falling.
    """

    def __init__(self, clocked: Costs, levels: Sequence[Kept], losses: Sequence[Times]) -> None:
        self.clocked, self.levels, self.losses = clocked, levels, losses
        self._near = clocked.neighbours()
        self._known: dict[tuple[int, bytes], Times] = {}

    def times(self, chosen: Kept, group: int) -> Times:
        """What the network takes at each level of a group, up to a constant, the others being at the chosen
        levels, shape (levels,).
        """
        key = group, chosen[self._near[group]].tobytes()
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.clocked.around(self.kept(chosen), group, self.levels[group])
        return found

    def kept(self, chosen: Kept) -> Kept:
        """Channels kept per group at these levels."""
        return np.array([levels[level] for levels, level in zip(self.levels, chosen)], dtype=np.int64)

    def ms(self, chosen: Kept) -> float:
        """Milliseconds of the network."""
        return self.clocked.of(self.kept(chosen))

    def loss(self, chosen: Kept) -> float:
        """What goes in all groups."""
        return sum(float(losses[level]) for losses, level in zip(self.losses, chosen))


def place(choices: Choices, budget_ms: float) -> Kept:
    """Channels kept per group whose predicted time is within the budget, at nearly the least loss; the fewest
    if none is.
    """
    widest = np.array([len(levels) - 1 for levels in choices.levels], dtype=np.int64)
    if choices.ms(widest) <= budget_ms:
        return choices.kept(widest)
    if choices.ms(np.zeros_like(widest)) > budget_ms:
        return choices.kept(np.zeros_like(widest))
    priced = _at_best_price(choices, budget_ms, widest)
    return choices.kept(_exchanged(choices, budget_ms, _filled(choices, budget_ms, priced)))


def _at_best_price(choices: Choices, budget_ms: float, widest: Kept) -> Kept:
    """The levels at the lowest price of a millisecond at which the time is kept."""
    scale = sum(float(losses[0]) for losses in choices.losses) / max(choices.ms(widest), 1e-9) or 1.0
    best = np.zeros_like(widest)
    low, high, chosen = 0.0, 1.0, widest
    while choices.ms(chosen := _settled(choices, scale * high, chosen)) > budget_ms and high < 1e12:
        low, high = high, high * 4
    if choices.ms(chosen) <= budget_ms:
        best = chosen
    for _ in range(PRICES):
        middle = (low + high) / 2
        chosen = _settled(choices, scale * middle, best)
        if choices.ms(chosen) <= budget_ms:
            high, best = middle, chosen
        else:
            low = middle
        if high - low < 1e-4 * high:
            break
    return best


def _settled(choices: Choices, price: float, start: Kept) -> Kept:
    """Every group in turn takes the level whose loss and time together cost least at this price, until none
    changes.
    """
    chosen = start.copy()
    for _ in range(SWEEPS):
        before = chosen.copy()
        for group, losses in enumerate(choices.losses):
            cost = losses + price * choices.times(chosen, group)
            chosen[group] = len(cost) - 1 - int(np.argmin(cost[::-1]))  # of equal ones the widest
        if (chosen == before).all():
            break
    return chosen


def _filled(choices: Choices, budget_ms: float, start: Kept) -> Kept:
    """Give back channels, those first that save most per millisecond, while the time allows it."""
    chosen, left = start.copy(), budget_ms - choices.ms(start)
    while True:
        best: tuple[float, int, int, float] | None = None
        for group, losses in enumerate(choices.losses):
            here = int(chosen[group])
            times = choices.times(chosen, group)
            more = times[here + 1 :] - times[here]
            worth = np.where(more <= left, (losses[here] - losses[here + 1 :]) / np.maximum(more, 1e-9), 0.0)
            if len(worth) and worth.max() > (best[0] if best else 0.0):
                at = int(np.argmax(worth))
                best = float(worth[at]), group, here + 1 + at, float(more[at])
        if best is None:
            return chosen
        chosen[best[1]] = best[2]
        left -= best[3]


def _narrowed(choices: Choices, budget_ms: float, start: Kept, but: int) -> Kept | None:
    """Take channels away, those first that cost least per millisecond, until the time is kept; one group
    stays. None if that is not enough.
    """
    chosen, over = start.copy(), choices.ms(start) - budget_ms
    while over > 0:
        best: tuple[float, int, int, float] | None = None
        for group, losses in enumerate(choices.losses):
            here = int(chosen[group])
            if group == but or not here:
                continue
            times = choices.times(chosen, group)
            less = times[here] - times[:here]
            price = np.where(
                less > 0, (losses[:here] - losses[here]) / np.maximum(np.minimum(less, over), 1e-9), math.inf
            )
            at = int(np.argmin(price))
            if price[at] < (best[0] if best else math.inf):
                best = float(price[at]), group, at, float(less[at])
        if best is None:
            return None
        chosen[best[1]] = best[2]
        over -= best[3]
    return chosen


def _exchanged(choices: Choices, budget_ms: float, start: Kept) -> Kept:
    """Let a group be a little wider or narrower, and the others pay for it or share what it frees, for as
    long as that loses less.
    """
    best, least = start, choices.loss(start)
    for _ in range(EXCHANGES):
        before = least
        for group, levels in enumerate(choices.levels):
            here = int(best[group])
            for there in range(max(0, here - NEIGHBOURS), min(len(levels), here + NEIGHBOURS + 1)):
                trial = best.copy()
                trial[group] = there
                paid = _narrowed(choices, budget_ms, trial, but=group) if there != here else None
                if paid is None:
                    continue
                filled = _filled(choices, budget_ms, paid)
                loss = choices.loss(filled)
                if loss < least * (1 - 1e-9):
                    best, least = filled, loss
        if least >= before * (1 - WORTH_WHILE):
            break
    return best
