"""Targets: from one score per channel and a wish about size to a plan."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus._foundation.arguments import as_names, door
from prunus._foundation.warned import warn
from prunus.errors import PlanError, TargetError
from prunus.paint.graph import ChannelGraph
from prunus.planning.counts import Channels, Counted
from prunus.planning.losses import check_losses, least_loss
from prunus.planning.space import Space, check_rate, space_for
from prunus.plans.pins import holding, shortfall
from prunus.plans.plan import Plan, make_plan

if TYPE_CHECKING:
    from prunus._foundation.confidence import Evaluate
    from prunus._foundation.progress import Watch
    from prunus.measure.machine import Machine

Scope = Literal["uniform", "global", "measured"]
_SLACK = 0.005  # stop refining once within half a percent of the budget


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
    losses: Sequence[NDArray[np.float64]] | None = None,
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
        scope: "uniform" removes the same fraction everywhere, "global" ranks all channels together, and
            "measured" chooses the widths that lose least in all by `losses`; the scores then only say which
            channels of a group go. With `latency`, "uniform" removes about the same share of the score
            everywhere, and "global" loses as little score as it can in all.
        round_to: widths become multiples of this number wherever a layer has that many channels; "auto" is
            the width below which nothing is won on this machine, which `latency` rounds to unless a number is
            given.
        floor: channels that every group keeps at least.
        protect: a glob pattern, or several, of parameter or module names whose output channels stay.
        rates: glob pattern -> rate for these layers, instead of what the target would choose; the first match
            counts.
        exact: protect every channel whose removal could not be exact.
        losses: for the scope "measured": per group, what the network loses with 0 to all of its channels
            left, shape (size + 1,), as `prunus.methods.sensitivity` measures it.

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
    measured = check_losses(graph, losses) if scope == "measured" else ()
    space, fixed = space_for(
        graph, scores, round_to, floor, as_names(protect), rates or {}, exact, stairs=latency is not None
    )
    space = replace(space, losses=measured)
    if latency is not None and machine is not None:
        from prunus._foundation.progress import unwatched
        from prunus.planning.latency_target import within_latency

        return within_latency(space, latency, machine, scope != "uniform", watch or unwatched)
    if tolerance is not None:
        return _within_tolerance(space, fixed, tolerance, evaluate, confidence, scope)
    if rate is not None or not given:
        found = make_plan(graph, space.removed(_at_rate(space, fixed, check_rate(rate or 0.0), scope)))
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
        warn(text)


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
    space, _ = space_for(graph, scores, 1, 1, (), {}, exact=False)
    return make_plan(
        graph, space.removed(space.at_least(graph.kept(space.scores <= threshold).astype(np.float64)))
    )


def _at_rate(space: Space, fixed: Mapping[int, int], rate: float, scope: Scope) -> NDArray[np.int64]:
    """Channels kept per group at a rate."""
    sizes = np.array([len(o) for o in space.order], dtype=np.int64)
    if scope == "uniform":
        return space.nearest(sizes - np.floor(rate * sizes + 1e-9))
    free = np.array([g not in fixed for g in range(len(sizes))], dtype=bool)
    wanted = math.floor(rate * sizes[free].sum() + 1e-9)
    if scope == "measured":
        return least_loss(space, Channels(free), float(sizes[free].sum() - wanted))
    return _bisect(lambda n: _global(space, n), lambda kept: (sizes - kept)[free].sum() >= wanted, space)


def _at_share(space: Space, rate: float) -> NDArray[np.int64]:
    """Channels kept per group where least is lost with this share of the MACs that can go."""
    macs = Counted(space.graph.costs, "macs")
    most, least = macs.of(space.widest()), macs.of(space.smallest())
    return least_loss(space, macs, most - rate * (most - least))


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
    if scope == "measured":
        return least_loss(space, Counted(costs, what), budget)
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

    def kept_at(rate: float) -> NDArray[np.int64]:
        return _at_share(space, rate) if scope == "measured" else _at_rate(space, fixed, rate, scope)

    found, trials = largest_within(
        graph.model,
        nothing,
        lambda rate: make_plan(graph, space.removed(kept_at(rate))),
        tolerance,
        evaluate,
        confidence,
    )
    return make_plan(graph, found.removed_in(graph), trials)
