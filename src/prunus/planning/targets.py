"""Targets: from one score per channel and a wish about size to a plan."""

from __future__ import annotations

import builtins
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus._foundation.arguments import as_names, door
from prunus.errors import PlanError, TargetError
from prunus.paint.folding import unfoldable_channels
from prunus.paint.graph import ChannelGraph, Group
from prunus.plans.pins import holding, shortfall
from prunus.plans.plan import Plan, make_plan

if TYPE_CHECKING:
    from prunus._foundation.confidence import Evaluate
    from prunus._foundation.progress import Watch
    from prunus.measure.machine import Machine

Scope = Literal["uniform", "global"]
_SLACK = 0.005  # stop refining once within half a percent of the budget


@dataclass(frozen=True, eq=False)
class Space:
    """What a target may choose from: per group the channels from worst to best, and the numbers that may be
    kept, ascending.
    """

    graph: ChannelGraph
    scores: NDArray[np.float64]
    order: tuple[NDArray[np.int64], ...]
    levels: tuple[NDArray[np.int64], ...]

    def removed(self, kept: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Boolean array over the channels: the worst of every group go."""
        result = np.zeros(self.graph.num_channels, dtype=bool)
        for order, keep in zip(self.order, kept):
            result[order[: len(order) - int(keep)]] = True
        return result

    def smallest(self) -> NDArray[np.int64]:
        """The fewest channels that every group may keep."""
        return np.array([levels[0] for levels in self.levels], dtype=np.int64)

    def at_least(self, wanted: NDArray[np.float64]) -> NDArray[np.int64]:
        """Per group the smallest allowed number that is not below `wanted` (the largest allowed if there is
        none).
        """
        picked = [
            levels[min(int(np.searchsorted(levels, w - 1e-9)), len(levels) - 1)]
            for levels, w in zip(self.levels, wanted)
        ]
        return np.array(picked, dtype=np.int64)


@door(TargetError)
def plan(
    graph: ChannelGraph,
    scores: Tensor,
    *,
    rate: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    bytes: float | None = None,
    tolerance: float | None = None,
    evaluate: Evaluate | None = None,
    confidence: float = 0.95,
    latency: float | str | None = None,
    runtime: str | Machine = "onnxruntime",
    threads: int = 1,
    watch: Watch | None = None,
    scope: Scope = "uniform",
    round_to: int | Literal["auto"] = 1,
    floor: int = 1,
    protect: str | Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
    exact: bool = False,
) -> Plan:
    """Choose which channels go: the lowest scores, until the target is met. Exactly one target is given.

    Args:
        graph: a traced model.
        scores: one number per channel, shape (num_channels,); higher = keep.
        rate: fraction of channels to remove, 0 to 1 (per group the whole part of rate * channels goes, as in
            the papers).
        macs, params, bytes: what may be left: a fraction of the original (up to 1.0) or an absolute number
            (above 1). Met from below.
        tolerance: points of `evaluate` that may be lost; the largest rate within it is searched for.
        evaluate: model -> metric in points, higher is better, on held-out data, never on the test set: one
            number, or the points of every sample, shape (samples,), from which the loss is bounded with
            `confidence`.
        confidence: that the loss on samples like the held-out ones is within the tolerance, in [0.5, 1).
        latency: what one forward on inputs like the example's may take: a share of the original's time (up to
            1.0), or milliseconds ("12ms", or a number above 1). Widths are chosen so that least score is lost
            in that time, and plans are measured until one keeps it.
        runtime: for `latency` and for round_to="auto": "onnxruntime" or "torch", measured on this machine
            (the first time takes up to two minutes, the tables are kept on disk), or an object with the
            methods of `prunus.measure.machine.Machine`.
        threads: of the runtime.
        watch: told what a latency search does: (step, done, of how many).
        scope: "uniform" removes the same fraction everywhere, "global" ranks all channels together. With
            `latency`, "uniform" removes about the same share of the score everywhere, and "global" loses as
            little score as it can in all.
        round_to: widths become multiples of this number wherever a layer has that many channels; "auto" is
            the width below which nothing is won on this machine, which `latency` rounds to unless a number is
            given.
        floor: channels that every group keeps at least.
        protect: a glob pattern, or several, of parameter or module names whose output channels stay.
        rates: glob pattern -> rate for these layers, instead of what the target would choose; the first match
            counts.
        exact: protect every channel whose removal could not be exact.

    Raises:
        TargetError: not exactly one target, a number out of range, or a target that cannot be reached (with
            the smallest figure that can).
        PlanError: scores of the wrong length, or a pattern that matches nothing.
    """
    targets = {
        "rate": rate,
        "macs": macs,
        "params": params,
        "bytes": bytes,
        "tolerance": tolerance,
        "latency": latency,
    }
    given = _given(targets, bool(rates))
    if latency is not None:
        from prunus.planning.latency_target import wanted

        wanted(latency)  # so that nonsense is refused before anything is timed
    machine = _machine(graph, runtime, threads) if latency is not None or round_to == "auto" else None
    if machine is not None and round_to in ("auto", 1):
        round_to = machine.step
    assert round_to != "auto"
    space, fixed = _space(
        graph, scores, round_to, floor, as_names(protect), rates or {}, exact, stairs=latency is not None
    )
    if latency is not None and machine is not None:
        from prunus._foundation.progress import unwatched
        from prunus.planning.latency_target import within_latency

        return within_latency(space, latency, machine, scope == "global", watch or unwatched)
    if tolerance is not None:
        return _within_tolerance(space, fixed, tolerance, evaluate, confidence, scope)
    if rate is not None or not given:
        found = make_plan(graph, space.removed(_at_rate(space, fixed, _check_rate(rate or 0.0), scope)))
        if not (protect or rates or exact):
            _tell_of_little(graph, found, rate or 0.0, round_to, floor)
        return found
    ((what, value),) = given.items()
    return make_plan(graph, space.removed(_within_budget(space, what, float(value), scope)))


def _given(targets: Mapping[str, float | str | None], rates: bool) -> dict[str, float | str]:
    """The one target that is given; none where there are rates. Raises TargetError for more, or others."""
    given = {name: value for name, value in targets.items() if value is not None}
    if len(given) > 1 or (not given and not rates):
        raise TargetError(
            f"Exactly one of {', '.join(targets)} must be given, not {' and '.join(given) or 'none'}."
        )
    for name, number in given.items():
        if not isinstance(number, str) and not math.isfinite(number):
            raise TargetError(f"{name} must be a finite number, not {number}.")
    return given


def _tell_of_little(graph: ChannelGraph, plan: Plan, rate: float, round_to: int, floor: int) -> None:
    """Warn where nothing goes, or far less than was asked for."""
    limits = [
        f"{name}={value} leaves the layers as wide as they are"
        for name, value in (("round_to", round_to), ("floor", floor))
        if value > 1
    ]
    text = shortfall(graph, plan, rate, " and ".join(limits))
    if text:
        warnings.warn(text, stacklevel=6)


def _machine(graph: ChannelGraph, runtime: str | Machine, threads: int) -> Machine:
    """What latency is measured on."""
    from prunus.measure.machine import Here

    if not isinstance(runtime, str):
        return runtime
    device = next(
        (source.tensor.device for source in graph.sources if source.tensor.device.type != "meta"),
        torch.device("cpu"),
    )
    return Here(runtime, threads, device=device.type)


@door(PlanError)
def plan_above(graph: ChannelGraph, scores: Tensor, threshold: float = 0.0) -> Plan:
    """Keep every channel whose score is above a threshold, and of a group that has none the best one.

    Raises PlanError for scores of the wrong length.
    """
    space, _ = _space(graph, scores, 1, 1, (), {}, exact=False)
    return make_plan(
        graph, space.removed(space.at_least(graph.kept(space.scores <= threshold).astype(np.float64)))
    )


def _space(
    graph: ChannelGraph,
    scores: Tensor,
    round_to: int,
    floor: int,
    protect: Sequence[str],
    rates: Mapping[str, float],
    exact: bool,
    stairs: bool = False,
) -> tuple[Space, dict[int, int]]:
    """The choices per group, and the groups whose number is already fixed by `protect` or `rates`; with
    `stairs`, rounding is a wish.
    """
    values = _check_scores(graph, scores)
    if round_to < 1 or floor < 1:
        raise TargetError(f"round_to and floor must be at least 1, not {round_to} and {floor}.")
    fixed: dict[int, int] = {}
    for pattern, rate in rates.items():
        for group in matching(graph, pattern):
            kept = group.size - math.floor(_check_rate(rate) * group.size + 1e-9)
            fixed.setdefault(group.index, max(min(floor, group.size), kept))
    for pattern in protect:
        for group in matching(graph, pattern):
            fixed[group.index] = group.size
    order, levels = [], []
    steps, offsets = (
        _steps(graph, round_to, fixed) if round_to > 1 else ([1] * len(graph.groups), [0] * len(graph.groups))
    )
    frozen = _inexact_channels(graph) if exact else np.zeros(graph.num_channels, dtype=bool)
    for group in graph.groups:
        keys = np.where(frozen[group.channels], np.inf, values[group.channels])
        order.append(group.channels[np.argsort(keys, kind="stable")])
        least = max(min(floor, group.size), int(frozen[group.channels].sum()))
        found = _levels(group, least, steps[group.index], offsets[group.index], fixed.get(group.index))
        levels.append(
            _stairs(found, group.size, least, round_to) if stairs and group.index not in fixed else found
        )
    return Space(graph, np.where(frozen, np.inf, values), tuple(order), tuple(levels)), fixed


def _levels(group: Group, least: int, step: int, offset: int, fixed: int | None) -> NDArray[np.int64]:
    """Numbers of channels that a group may keep, ascending: `offset` plus multiples of `step`, or all of them
    if none fits.
    """
    levels = np.arange(offset, group.size + 1, step)
    levels = levels[levels >= max(1, least)]
    levels = levels if len(levels) else np.array([group.size])
    if fixed is not None:
        below = levels[levels <= fixed]
        levels = np.array([fixed if fixed == group.size or not len(below) else below[-1]])
    return levels.astype(np.int64)


def _stairs(levels: NDArray[np.int64], size: int, least: int, step: int) -> NDArray[np.int64]:
    """The edges of stairs, half of the first one (kernels for few channels differ) and all channels; any
    number, for a group without an edge.
    """
    edges = np.unique([*levels, *(half for half in [step // 2] if least <= half < size), size])
    return edges if len(edges) > 1 else np.arange(least, size + 1)


def _steps(graph: ChannelGraph, round_to: int, fixed: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """Per group the step and the offset of its numbers, so that every layer's width is a multiple of
    `round_to`.

    Several groups, and pinned slots, may share a layer. Groups that are too small for a step stay whole; what
    they and the pinned slots leave over is made up for by the largest of the others.
    """
    sizes = np.array([g.size for g in graph.groups], dtype=np.int64)
    widths = [a for a in graph.axes if a.is_parameter and a.produces and (a.channels >= 0).any()]
    slots = [
        np.bincount(graph.group_of_channel[a.channels[a.channels >= 0]], minlength=len(sizes)) for a in widths
    ]
    steps, offsets = [1] * len(sizes), [0] * len(sizes)
    for count in slots:
        for g in np.flatnonzero(count).tolist():
            steps[g] = math.lcm(steps[g], round_to // math.gcd(round_to, int(count[g] // sizes[g])))
    whole = {g for g in range(len(sizes)) if sizes[g] < steps[g]} | {
        g for g, kept in fixed.items() if kept == sizes[g]
    }
    for axis, count in zip(widths, slots):
        rest = (int((axis.channels < 0).sum()) + sum(int(count[g]) for g in whole)) % round_to
        free = [g for g in np.flatnonzero(count).tolist() if g not in whole]
        if rest and free and len(axis.channels) >= round_to:
            largest = max(free, key=lambda g: int(count[g]))
            each = int(count[largest] // sizes[largest])
            fitting = [k for k in range(steps[largest]) if (k * each + rest) % round_to == 0]
            offsets[largest] = fitting[0] if fitting else offsets[largest]
    for g in whole:
        steps[g], offsets[g] = 1, int(sizes[g])
    return steps, offsets


def _inexact_channels(graph: ChannelGraph) -> NDArray[np.bool_]:
    result = np.zeros(graph.num_channels, dtype=bool)
    for one in graph.forwards:
        result |= unfoldable_channels(one)
        for note in one.notes:
            result[note.channels] = True
    return result


@door(PlanError)
def matching(graph: ChannelGraph, pattern: str) -> list[Group]:
    """Groups that a parameter or module name with this glob pattern writes to; raises PlanError if the
    pattern matches nothing.
    """
    axes = {(axis.name, axis.dim): axis for axis in graph.axes}
    if not any(_matches(axis.name, pattern) for axis in graph.axes):
        raise PlanError(
            f"The pattern {pattern!r} matches no parameter or module of {type(graph.model).__name__};"
            " print(graph) lists the names."
        )
    return [g for g in graph.groups if any(axes[m].produces and _matches(m[0], pattern) for m in g.members)]


def _matches(parameter: str, pattern: str) -> bool:
    """A pattern may name a parameter, its module, or any module around it."""
    parts = parameter.split(".")
    return any(fnmatchcase(".".join(parts[:n]), pattern) for n in range(1, len(parts) + 1))


def _check_scores(graph: ChannelGraph, scores: Tensor) -> NDArray[np.float64]:
    if scores.is_meta or scores.is_complex():
        raise PlanError(
            "Scores must be real numbers, not a tensor"
            f" {'without values, on meta' if scores.is_meta else f'of {scores.dtype}'}."
        )
    values = scores.detach().to("cpu", torch.float64).numpy().reshape(-1)
    if len(values) != graph.num_channels:
        raise PlanError(
            f"There are {len(values)} scores for {graph.num_channels} channels; a score is one number per"
            " channel of this graph."
        )
    if np.isnan(values).any():
        raise PlanError(
            f"{int(np.isnan(values).sum())} scores are not a number; the first is that of channel"
            f" {int(np.flatnonzero(np.isnan(values))[0])}."
        )
    return values


def _check_rate(rate: float) -> float:
    if not 0 <= rate <= 1:
        hint = f"; did you mean {rate / 100:g}" if 1 < rate <= 100 else ""
        raise TargetError(f"A rate is the fraction of channels to remove, from 0 to 1, not {rate}{hint}.")
    return rate


def _at_rate(space: Space, fixed: Mapping[int, int], rate: float, scope: Scope) -> NDArray[np.int64]:
    """Channels kept per group at a rate."""
    sizes = np.array([len(o) for o in space.order], dtype=np.int64)
    if scope == "uniform":
        return _nearest(space, sizes - np.floor(rate * sizes + 1e-9))
    free = np.array([g not in fixed for g in range(len(sizes))], dtype=bool)
    wanted = math.floor(rate * sizes[free].sum() + 1e-9)
    return _bisect(lambda n: _global(space, n), lambda kept: (sizes - kept)[free].sum() >= wanted, space)


def _nearest(space: Space, wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Per group the allowed number closest to `wanted`, the smaller one when in doubt."""
    return np.array(
        [levels[np.argmin(np.abs(levels - w))] for levels, w in zip(space.levels, wanted)], dtype=np.int64
    )


def _global(space: Space, count: int) -> NDArray[np.int64]:
    """Kept per group when the `count` lowest scores of the whole network go, as far as the groups allow."""
    ranked = _ranking(space)
    gone = np.bincount(space.graph.group_of_channel[ranked[:count]], minlength=len(space.order))
    return space.at_least(np.array([len(o) for o in space.order]) - gone.astype(np.float64))


def _ranking(space: Space) -> NDArray[np.int64]:
    return np.argsort(space.scores, kind="stable")


def _bisect(
    kept_at: Callable[[int], NDArray[np.int64]],
    enough: Callable[[NDArray[np.int64]], builtins.bool],
    space: Space,
) -> NDArray[np.int64]:
    """The first of a falling row of numbers that is small enough; the smallest of all if none is."""
    low, high = 0, space.graph.num_channels
    if not enough(kept_at(high)):
        return space.smallest()
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(kept_at(middle)) else (middle + 1, high)
    return kept_at(low)


def _within_budget(space: Space, what: str, value: float, scope: Scope) -> NDArray[np.int64]:
    """Channels kept per group so that a cost is met from below, as closely as the channels allow."""
    costs = space.graph.costs
    full = costs.count(what, np.array([len(o) for o in space.order], dtype=np.int64))
    if value <= 0:
        raise TargetError(f"{what} must be a fraction up to 1.0 or an absolute number above 1, not {value}.")
    budget = value * full if value <= 1 else value
    least = costs.count(what, space.smallest())
    if least > budget:
        share = f"{least / full:.4f}" if full else "nothing"
        raise TargetError(
            f"{what}={value:g} cannot be reached: the smallest reachable is {least:,} of {full:,} ({share}),"
            " with what is pinned and"
            f" protected{'; what holds most: ' + held if (held := holding(space.graph)) else ''}."
        )
    steps = 1000 if scope == "uniform" else space.graph.num_channels
    sizes = np.array([len(o) for o in space.order], dtype=np.float64)

    def kept_at(n: int) -> NDArray[np.int64]:
        return _global(space, n) if scope == "global" else space.at_least(sizes * (1 - n / steps))

    low, high = 0, steps
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if costs.count(what, kept_at(middle)) <= budget else (middle + 1, high)
    kept = kept_at(low)
    kept = kept if costs.count(what, kept) <= budget else space.smallest()
    return _refill(space, kept, what, budget)


def _refill(space: Space, kept: NDArray[np.int64], what: str, budget: float) -> NDArray[np.int64]:
    """Give back the best removed channels while the budget allows it."""
    costs = space.graph.costs
    open_groups = set(range(len(kept)))
    while open_groups and costs.count(what, kept) < (1 - _SLACK) * budget:
        candidates = []
        for g in sorted(open_groups):
            larger = space.levels[g][space.levels[g] > kept[g]]
            if not len(larger):
                open_groups.discard(g)
                continue
            best = space.scores[space.order[g][len(space.order[g]) - int(larger[0])]]
            candidates.append((kept[g] / len(space.order[g]), -best, g, int(larger[0])))
        for _, _, g, level in sorted(candidates):
            trial = kept.copy()
            trial[g] = level
            if costs.count(what, trial) <= budget:
                kept = trial
            else:
                open_groups.discard(g)
    return kept


def _within_tolerance(
    space: Space,
    fixed: Mapping[int, int],
    tolerance: float,
    evaluate: Evaluate | None,
    confidence: float,
    scope: Scope,
) -> Plan:
    """The largest rate within a tolerance."""
    from prunus.planning.tolerance import largest_within

    if evaluate is None:
        raise TargetError(
            "tolerance= needs evaluate=, a function from a model to its metric in points on held-out data."
        )
    graph = space.graph
    nothing = make_plan(graph, np.zeros(graph.num_channels, dtype=bool))
    found, trials = largest_within(
        graph.model,
        nothing,
        lambda rate: make_plan(graph, space.removed(_at_rate(space, fixed, rate, scope))),
        tolerance,
        evaluate,
        confidence,
    )
    return make_plan(graph, found.removed_in(graph), trials)
