"""The tolerance as a target: the largest rate whose metric on held-out samples is, with some confidence, at
most so many points worse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.confidence import (
    CONFIDENCE,
    Evaluate,
    Rows,
    check,
    check_provable,
    judged,
    metric_of,
    number_of,
    value_of,
)
from prunus._foundation.wording import given
from prunus.errors import TargetError
from prunus.plans.plan import Plan, Trial
from prunus.surgery.compact import compact

STEPS = 7  # halvings of the rate: to less than a hundredth


@door(TargetError)
def largest_within(
    model: nn.Module,
    nothing: Plan,
    plan_at: Callable[[float], Plan],
    tolerance: float,
    evaluate: Evaluate,
    confidence: float = CONFIDENCE,
) -> tuple[Plan, tuple[Trial, ...]]:
    """Bisect over the rate, a larger one being taken to lose more; also all that was tried.

    Args:
        model: the original.
        nothing: the plan that removes nothing, which is given back where no trial is accepted.
        plan_at: rate -> plan.
        tolerance: points that may be lost.
        evaluate: compact model -> metric. From the points of every sample, the loss is bounded with
            `confidence`; from a mere number it is taken as it is.
        confidence: that the loss on samples like the held-out ones is within the tolerance, in [0.5, 1).

    Raises:
        TargetError: numbers out of range, or metrics that are not numbers or of different shapes.
    """
    check(tolerance, confidence)
    baseline = metric_of(evaluate(model))
    value_of(baseline)  # so that nonsense is refused before anything is tried
    check_provable(baseline, tolerance, confidence)
    best, trials = nothing, []
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        rate = (low + high) / 2
        candidate = plan_at(rate)
        found = metric_of(evaluate(compact(model, candidate)))
        value, lowest = judged(baseline, found, confidence)
        accepted = value_of(baseline) - lowest <= tolerance
        trials.append(Trial(rate, value, candidate.after.macs, accepted, lowest))
        if accepted:
            low, best = rate, candidate
        else:
            high = rate
    return best, tuple(trials)


@door(TargetError)
def all_within(
    model: nn.Module,
    evaluate: Callable[[nn.Module], Mapping[str, float | Rows]],
    tolerances: Mapping[str, float],
) -> Callable[[nn.Module], float | Rows]:
    """Several metrics, each with a tolerance of its own, as one metric with a tolerance of 1.

    It is the part of the tolerance that is left to the metric that has lost most of its own: 1 for the
    original, 0 where that is just used up.
    Where all metrics are `Rows` of the same entries, so is this one, and the tolerances are kept with a
    confidence.

    Args:
        model: the original, which is evaluated here, once.
        evaluate: model -> metrics in points, higher is better.
        tolerances: points that may be lost, above 0, for every metric that counts.

    Raises:
        TargetError: no tolerances, one that is not above 0, or of a metric that there is not or that is not a
            number.
    """
    if not tolerances or min(tolerances.values()) <= 0:
        raise TargetError(f"Every metric needs a tolerance above 0, not {dict(tolerances)}.")
    baseline = evaluate(model)
    if not isinstance(baseline, Mapping):
        raise TargetError(f"evaluate must return a dict of metrics by name, not {given(baseline)}.")
    for name in tolerances:
        if name not in baseline:
            raise TargetError(
                f"There is a tolerance for {name!r}, but the metrics are {', '.join(baseline)}."
            )
        value_of(metric_of(baseline[name]))
    whole = {name: metric_of(baseline[name]) for name in tolerances}

    def used(before: Sequence[Any], after: Sequence[Any]) -> float:
        """The largest part of a tolerance that is used up, from one model's entries to another's."""
        return max(
            (one.points(before) - one.points(after)) / tolerances[name]
            for name, one in whole.items()
            if isinstance(one, Rows)
        )

    def left(network: nn.Module) -> float | Rows:
        found = baseline if network is model else evaluate(network)
        first = found[next(iter(tolerances))]
        if isinstance(first, Rows) and all(isinstance(one, Rows) for one in whole.values()):
            start = next(iter(whole.values()))
            most = max(one.most / tolerances[name] for name, one in whole.items() if isinstance(one, Rows))
            return Rows(first.each, lambda each: 1 - used(start.each, each), most, used)  # type: ignore[union-attr]  # Rows, as all are
        parts = [
            1 - (value_of(whole[name]) - number_of(metric_of(found[name]))) / tolerance
            for name, tolerance in tolerances.items()
        ]
        return math.nan if any(map(math.isnan, parts)) else min(parts)

    return left
