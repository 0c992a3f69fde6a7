"""Latency as a target: widths are placed on the edges of the machine's stairs so that little score is lost, then measured and corrected.

The time of a network is taken for the sum of its layers' times at their widths (`prunus.deploy.probe`) and of the rest, which moves memory and so
grows with the activations. Layers share widths, so that the choice is no plain knapsack: under a price for time [score per ms] every group in
turn takes its best number of channels, the others being what they are, until nothing changes; the price is bisected, what is left of the time is
filled up, and groups exchange time as long as that loses less.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree

from .channels.compact import compact
from .channels.graph import ChannelGraph
from .channels.plan import Plan, Timing, make_plan
from .deploy.machine import Machine, Watch, stopwatch, unwatched
from .deploy.probe import Table
from .deploy.shapes import TimedLayers, timed_layers
from .errors import TargetError

if TYPE_CHECKING:
    from .targets import Space

Kept = NDArray[np.int64]
Times = NDArray[np.float64]

ATTEMPTS = 6
AIM = 0.975  # of the time asked for: what is measured varies, and more than was asked is not accepted
NEAR = 0.92  # from here on up it is met
PRICES = 40  # halvings of the price
SWEEPS = 12  # over all groups, at one price, at most
EXCHANGES = 8  # over all groups, at most
WORTH_WHILE = 1e-3  # of the loss, which a round of exchanges has to save for another one


@dataclass(frozen=True)
class Wanted:
    """How long the network may take: a share of the dense network's time, or milliseconds."""

    share: float | None
    ms: float | None

    def of(self, dense_ms: float) -> float:
        """Milliseconds, given those of the dense network."""
        return self.ms if self.ms is not None else (self.share or 0.0) * dense_ms


def wanted(latency: float | str) -> Wanted:
    """0.5 for a share, "12ms" or a number above 1 for milliseconds.

    Raises TargetError if it is neither.
    """
    if isinstance(latency, str):
        found = re.fullmatch(r"\s*([0-9.]+)\s*(ms)?\s*", latency)
        try:
            number = float(found[1]) if found else math.nan
        except ValueError:
            number = math.nan
        if found and found[2] and number > 0:
            return Wanted(None, number)
        latency = number
    if not (math.isfinite(latency) and latency > 0):
        raise TargetError(f"latency is a share up to 1.0, milliseconds as in '12ms', or a number of them above 1, not {latency!r}")
    return Wanted(latency, None) if latency <= 1 else Wanted(None, latency)


class Clocked:
    """The predicted time of a network at any numbers of channels kept per group.

    Args:
        graph: the traced network.
        layers: its timed layers.
        tables: one per layer.
        dense_ms: what the dense network takes, measured.
    """

    def __init__(self, graph: ChannelGraph, layers: TimedLayers, tables: list[Table], dense_ms: float) -> None:
        self._layers, self._tables = layers, tables
        self.full = np.array([group.size for group in graph.groups], dtype=np.int64)
        own = float(self.of_layers(self.full).sum())
        # Where the layers alone take longer than the network does (a runtime that fuses more of it), they are taken for quicker than measured.
        self._scale = min(1.0, dense_ms / own) if own else 1.0
        rest = max(0.0, dense_ms - own)
        self._per_channel = rest * _activation_shares(graph, self.full)
        self._fixed = rest - float(self._per_channel @ self.full)
        # The layers whose time a group's width changes.
        self._touched = [np.flatnonzero(layers.per_group[:, :, group].any(axis=0)) for group in range(len(graph.groups))]

    def of_layers(self, kept: Kept) -> Times:
        """Milliseconds of every layer, as probed, shape (layers,)."""
        read, made = self._layers.widths(kept)
        return np.array([float(table.at(r, m)) for table, r, m in zip(self._tables, read, made)])

    def ms(self, kept: Kept) -> float:
        """Milliseconds of the network."""
        return self._scale * float(self.of_layers(kept).sum()) + self._fixed + float(self._per_channel @ kept)

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


def lost(space: Space, group: int, scores: NDArray[np.float64]) -> Times:
    """Score that goes with all but so many channels of a group, at every number that may be kept, shape (levels,)."""
    order = space.order[group]
    gone = np.concatenate([[0.0], np.cumsum(scores[order])])
    return np.asarray(gone[len(order) - space.levels[group]], dtype=np.float64)


def place(space: Space, clocked: Clocked, budget_ms: float, losses: list[Times]) -> Kept:
    """Numbers of channels kept per group whose predicted time is within the budget, at nearly the least loss; the smallest if none is."""
    largest = np.array([levels[-1] for levels in space.levels], dtype=np.int64)
    if clocked.ms(largest) <= budget_ms:
        return largest
    if clocked.ms(space.smallest()) > budget_ms:
        return space.smallest()
    scale = sum(float(loss.max()) for loss in losses) / max(clocked.ms(largest), 1e-9) or 1.0
    low, high = 0.0, 1.0
    best = settled(space, clocked, losses, math.inf, largest)
    kept = largest
    while clocked.ms(kept := settled(space, clocked, losses, scale * high, kept)) > budget_ms and high < 1e12:
        low, high = high, high * 4
    if clocked.ms(kept) <= budget_ms:
        best = kept
    for _ in range(PRICES):
        middle = (low + high) / 2
        kept = settled(space, clocked, losses, scale * middle, best)
        if clocked.ms(kept) <= budget_ms:
            high, best = middle, kept
        else:
            low = middle
        if high - low < 1e-4 * high:
            break
    found = _filled(space, clocked, budget_ms, losses, best)
    return _exchanged(space, clocked, budget_ms, losses, found)


def settled(space: Space, clocked: Clocked, losses: list[Times], price: float, start: Kept) -> Kept:
    """Every group in turn takes the number whose loss and time together cost least at this price of a millisecond, until none changes."""
    kept = start.copy()
    for _ in range(SWEEPS):
        before = kept.copy()
        for group, levels in enumerate(space.levels):
            if len(levels) < 2:
                kept[group] = levels[0]
                continue
            times = clocked.around(kept, group, levels)
            cost = times if math.isinf(price) else losses[group] + price * times
            kept[group] = levels[len(levels) - 1 - int(np.argmin(cost[::-1]))]  # of equal ones the widest
        if (kept == before).all():
            break
    return kept


def _filled(space: Space, clocked: Clocked, budget_ms: float, losses: list[Times], kept: Kept) -> Kept:
    """Give back channels, those first that save most score per millisecond, while the time allows it."""
    kept = kept.copy()
    left = budget_ms - clocked.ms(kept)
    while True:
        best: tuple[float, int, int, float] | None = None
        for group, levels in enumerate(space.levels):
            wider = levels > kept[group]
            if not wider.any():
                continue
            times = clocked.around(kept, group, np.append(levels[wider], kept[group]))
            more = times[:-1] - times[-1]
            saved = losses[group][levels == kept[group]] - losses[group][wider]
            worth = np.where(more <= left, saved / np.maximum(more, 1e-9), -np.inf)
            at = int(np.argmax(worth))
            if worth[at] > 0 and (best is None or worth[at] > best[0]):
                best = float(worth[at]), group, int(levels[wider][at]), float(more[at])
        if best is None:
            return kept
        kept[best[1]] = best[2]
        left -= best[3]


def _narrowed(space: Space, clocked: Clocked, budget_ms: float, losses: list[Times], kept: Kept, but: int) -> Kept | None:
    """Take channels away, those first that cost least score per millisecond, until the time is kept; one group stays. None if that is not enough."""
    kept = kept.copy()
    over = clocked.ms(kept) - budget_ms
    while over > 0:
        best: tuple[float, int, int, float] | None = None
        for group, levels in enumerate(space.levels):
            narrower = levels < kept[group]
            if group == but or not narrower.any():
                continue
            times = clocked.around(kept, group, np.append(levels[narrower], kept[group]))
            less = times[-1] - times[:-1]
            price = (losses[group][narrower] - losses[group][levels == kept[group]]) / np.maximum(np.minimum(less, over), 1e-9)
            at = int(np.argmin(np.where(less > 0, price, np.inf)))
            if less[at] > 0 and (best is None or price[at] < best[0]):
                best = float(price[at]), group, int(levels[narrower][at]), float(less[at])
        if best is None:
            return None
        kept[best[1]] = best[2]
        over -= best[3]
    return kept


def _exchanged(space: Space, clocked: Clocked, budget_ms: float, losses: list[Times], kept: Kept) -> Kept:
    """Let a group be one step wider or narrower, and the others pay for it or share what it frees, for as long as that loses less."""
    best, least = kept, _total(space, losses, kept)
    for _ in range(EXCHANGES):
        before = least
        for group, levels in enumerate(space.levels):
            here = int(np.searchsorted(levels, best[group]))
            for there in (here - 2, here - 1, here + 1, here + 2):
                if not 0 <= there < len(levels):
                    continue
                trial = best.copy()
                trial[group] = levels[there]
                paid = _narrowed(space, clocked, budget_ms, losses, trial, but=group)
                if paid is None:
                    continue
                filled = _filled(space, clocked, budget_ms, losses, paid)
                total = _total(space, losses, filled)
                if total < least - 1e-12:
                    best, least = filled, total
        if least >= before * (1 - WORTH_WHILE):
            break
    return best


def _total(space: Space, losses: list[Times], kept: Kept) -> float:
    """Score lost in all groups."""
    return sum(float(loss[np.searchsorted(levels, number)]) for loss, levels, number in zip(losses, space.levels, kept))


def within_latency(space: Space, latency: float | str, machine: Machine, across: bool, watch: Watch = unwatched) -> Plan:
    """The plan that loses least within a time, as measured.

    Args:
        space: what may be chosen.
        latency: see `wanted`.
        machine: probed and timed on.
        across: scores are compared between layers.
        watch: told about progress.

    Raises:
        TargetError: the time cannot be reached (with the smallest one that was measured), or is no time.
    """
    graph, asked = space.graph, wanted(latency)
    inputs = example_inputs(graph)
    layers = timed_layers(graph)
    found = machine.tables(layers.shapes, watch)
    timings: list[Timing] = []
    best: tuple[Plan, float] | None = None
    with stopwatch(machine, graph.model, inputs) as timed:
        watch("measuring the dense network", 0, 0)
        (dense_ms,) = timed()
        clocked = Clocked(graph, layers, [found[shape] for shape in layers.shapes], dense_ms)
        losses = losses_of(space, clocked, across)
        aim = AIM * asked.of(dense_ms)
        for attempt in range(ATTEMPTS):
            watch("measuring plans", attempt, ATTEMPTS)
            kept = place(space, clocked, aim, losses)
            plan = make_plan(graph, space.removed(kept))
            small = compact(graph.model, plan, check=False)
            dense_ms, small_ms = timed(small)
            target = asked.of(dense_ms)
            met = small_ms <= target
            timings.append(Timing(clocked.ms(kept), small_ms, dense_ms, plan.after.macs, met))
            if met and (best is None or small_ms / dense_ms > best[1]):
                best = plan, small_ms / dense_ms
            if met and small_ms >= NEAR * target:
                break
            if not met and (kept == space.smallest()).all():
                break
            aim *= AIM * target / small_ms
    if best is None:
        smallest = min(timings, key=lambda timing: timing.measured_ms)
        raise TargetError(
            f"latency={latency} cannot be reached in {machine.name}: the quickest plan that was measured takes {smallest.measured_ms:.3g} ms "
            f"of {smallest.dense_ms:.3g} ms ({smallest.measured_ms / smallest.dense_ms:.2f})"
        )
    return make_plan(graph, best[0].removed_in(graph), timings=timings)


def losses_of(space: Space, clocked: Clocked, across: bool) -> list[Times]:
    """What goes with all but so many channels of a group, per group and at every number that may be kept.

    Across layers it is the sum of the scores. Otherwise it is the square of the share of the group's score, times the time that hangs on the group:
    where time falls in proportion to width, that is least where all layers lose the same share, and stairs decide where it does not.
    """
    scores = np.where(np.isfinite(space.scores), space.scores, 0.0)
    sums = [lost(space, group, scores) for group in range(len(space.levels))]
    if across:
        return sums
    result = []
    for group, (levels, order) in enumerate(zip(space.levels, space.order)):
        total = scores[order].sum()
        share = sums[group] / total if total > 0 else 1 - levels / len(order)
        result.append(np.ptp(clocked.around(clocked.full, group, levels)) * share**2)
    return result


def example_inputs(graph: ChannelGraph) -> tuple[object, ...] | dict[str, object]:
    """Random inputs like those that the network was traced with.

    Raises TargetError where it takes positional and keyword arguments at once, which no runtime is given here.
    """
    args, kwargs = graph.inputs
    if args and kwargs:
        raise TargetError("a latency target needs a model that is called with positional or with keyword arguments, not with both")

    device = next((parameter.device for parameter in graph.model.parameters()), torch.device("cpu"))

    def real(value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        drawn = torch.randn(value.shape).to(value.dtype) if value.dtype.is_floating_point else torch.zeros(value.shape, dtype=value.dtype)
        return drawn.to(device)

    found: tuple[object, ...] | dict[str, object] = _pytree.tree_map(real, kwargs or tuple(args))
    return found
