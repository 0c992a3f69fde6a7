"""The tolerance as a target: the largest rate whose metric on held-out samples is, with some confidence, at most so many points worse."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ._arguments import door
from ._wording import given
from .channels.compact import compact
from .channels.plan import Plan, Trial
from .errors import TargetError

DRAWS = 500  # of the bootstrap


@dataclass(frozen=True, eq=False)
class Rows:
    """What every held-out sample contributes to a metric that is no mean of points, and how the contributions become points.

    Attributes:
        each: one entry per sample, in the same order for every model: numbers, tensors, whatever `points` takes.
        points: entries of any of the samples -> points, higher is better.
        most: points that are lost where everything is.
        lost: (entries of one model, of another) -> points that are lost from the first to the second; None = the difference of their points.
    """

    each: Sequence[Any]
    points: Callable[[Sequence[Any]], float]
    most: float = 100.0
    lost: Callable[[Sequence[Any], Sequence[Any]], float] | None = None


Metric = float | Tensor | Rows
"""Points, higher is better; or the points of every held-out sample, shape (samples,), of which the mean counts; or `Rows`."""
Evaluate = Callable[[nn.Module], Metric]

STEPS = 7  # halvings of the rate: to less than a hundredth
CONFIDENCE = 0.95


@door(TargetError)
def largest_within(
    model: nn.Module, nothing: Plan, plan_at: Callable[[float], Plan], tolerance: float, evaluate: Evaluate, confidence: float = CONFIDENCE
) -> tuple[Plan, tuple[Trial, ...]]:
    """Bisect over the rate, a larger one being taken to lose more; also all that was tried.

    Args:
        model: the original.
        nothing: the plan that removes nothing, which is given back where no trial is accepted.
        plan_at: rate -> plan.
        tolerance: points that may be lost.
        evaluate: compact model -> metric. From the points of every sample, the loss is bounded with `confidence`; from a mere number it is taken as
            it is.
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


def check(tolerance: float, confidence: float) -> None:
    """Raise TargetError if one of the numbers is out of range."""
    if not tolerance >= 0:
        raise TargetError(f"tolerance is the number of points that may be lost, 0 or more, not {tolerance}.")
    if not 0.5 <= confidence < 1:
        raise TargetError(f"A confidence lies from 0.5, the mean itself, to below 1, not {confidence}.")


def check_provable(baseline: Metric, tolerance: float, confidence: float) -> None:
    """Raise TargetError where so few samples cannot show that the tolerance is kept, even if nothing changes on them: before any work is done."""
    if not isinstance(baseline, Tensor) or confidence <= 0.5 or len(torch.unique(baseline)) > 2:
        return  # points of many values show by their spread what they leave open
    count, largest = len(baseline), _largest(baseline)
    least = _unseen(count, largest, confidence)
    if least > tolerance:
        needed = f"{math.ceil(math.log(1 - confidence) / math.log(1 - tolerance / largest)):,} that agree, or " if 0 < tolerance < largest else ""
        raise TargetError(
            f"A loss of at most {tolerance:g} points cannot be shown with {100 * confidence:g} % confidence on {count:,} held-out samples, even if "
            f"all agree: that takes {needed}a tolerance of {math.ceil(10 * least) / 10:g} points."
        )


def judged(baseline: Metric, found: Metric, confidence: float) -> tuple[float, float]:
    """The metric of a trial, and the lowest that it has with this confidence, one-sided.

    Samples are paired: what counts is how much the difference of one sample's points spreads, which is far less than the points themselves do
    where both models mostly agree. The bound of a mean is Student's; that of another metric comes from drawing the samples anew, with
    replacement (bootstrap, percentiles: Efron 1979), and is widened by as much as Student's t is wider than the normal distribution.

    To that comes what so few samples need not show: n samples that agree allow that a share q of all others is lost as a whole, with
    (1 - q)^n = 1 - confidence (Clopper and Pearson 1934 for no event in n; the rule of three). It counts by the share of samples that agree, and
    the two add up as squares, which is within a point of the exact bound for up to 10 events in 100.
    """
    if isinstance(baseline, Rows) and isinstance(found, Rows):
        return value_of(found), value_of(baseline) - _bootstrapped(baseline, found, confidence)
    if not (isinstance(baseline, Tensor) and isinstance(found, Tensor)):
        if isinstance(baseline, (Tensor, Rows)) or isinstance(found, (Tensor, Rows)):
            raise TargetError("The metric gives the points of every sample for one model and a single number for another.")
        return value_of(found), value_of(found)
    if baseline.shape != found.shape or baseline.dim() != 1 or not len(baseline):
        raise TargetError(
            f"The points of every sample must have one shape (samples,) for all models, not {tuple(baseline.shape)} and {tuple(found.shape)}."
        )
    lost = baseline.double().cpu() - found.double().cpu()
    agree = float((lost == 0).double().mean())
    doubt = _doubt(float(lost.std(correction=1)) / math.sqrt(len(lost)) if len(lost) > 1 else math.inf, len(lost), confidence)
    unseen = agree * _unseen(len(lost), max(_largest(baseline), _largest(found)), confidence)
    return value_of(found), value_of(baseline) - float(lost.mean()) - math.hypot(doubt, unseen)


def _doubt(error: float, count: int, confidence: float) -> float:
    """How far the mean of others may lie above that of `count` samples whose mean has this standard error."""
    from scipy.special import stdtrit

    if confidence <= 0.5:  # the mean itself is asked for
        return 0.0
    return error if math.isinf(error) else float(stdtrit(count - 1, confidence)) * error


def _unseen(count: int, largest: float, confidence: float) -> float:
    """Points that may be lost on others where `count` samples agree, each of which has `largest` points to lose."""
    return 0.0 if confidence <= 0.5 else largest * (1 - (1 - confidence) ** (1 / count))


def _largest(points: Tensor) -> float:
    return float(points.double().abs().max())


def _bootstrapped(baseline: Rows, found: Rows, confidence: float) -> float:
    """The most that is lost with this confidence."""
    count = len(baseline.each)
    if count != len(found.each) or not count:
        raise TargetError(f"The metric has rows of {count} samples for one model and of {len(found.each)} for another.")
    lost = baseline.lost or _difference_of_points(baseline, found)
    whole = lost(baseline.each, found.each)
    if confidence <= 0.5:
        return whole
    if count == 1:
        return math.inf
    draw = np.random.default_rng(0)
    places = (draw.integers(count, size=count) for _ in range(DRAWS))
    several = [lost([baseline.each[i] for i in drawn], [found.each[i] for i in drawn]) for drawn in places]
    wider = _doubt(1.0, count, confidence) / NormalDist().inv_cdf(confidence) * math.sqrt(count / (count - 1))
    doubt = max(float(np.quantile(several, confidence)) - whole, 0.0) * wider
    agree = sum(_same(a, b) for a, b in zip(baseline.each, found.each)) / count
    return whole + math.hypot(doubt, agree * _unseen(count, baseline.most, confidence))


def _difference_of_points(baseline: Rows, found: Rows) -> Callable[[Sequence[Any], Sequence[Any]], float]:
    return lambda before, after: baseline.points(before) - found.points(after)


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else bool(a == b)


def metric_of(returned: Any) -> Metric:
    """What an `evaluate` returned: a number, or the points of every sample; raises TargetError if it is neither."""
    if isinstance(returned, Rows):
        return returned
    metric = torch.from_numpy(returned) if isinstance(returned, np.ndarray) and returned.dtype.kind in "biuf" else returned
    if isinstance(metric, Tensor) and metric.dim() == 1 and len(metric) and not (metric.is_complex() or metric.is_meta):
        return metric
    single = metric.item() if isinstance(metric, (Tensor, np.generic)) and metric.ndim == 0 and not getattr(metric, "is_meta", False) else metric
    if isinstance(single, bool) or not isinstance(single, (int, float)):
        raise TargetError(f"evaluate must return a number, or the points of every sample in one shape (samples,), not {given(returned)}.")
    return float(single)


def value_of(metric: Metric) -> float:
    """The metric as one number; raises TargetError if it is none."""
    value = metric.points(metric.each) if isinstance(metric, Rows) else float(metric.double().mean() if isinstance(metric, Tensor) else metric)
    if math.isnan(value):
        raise TargetError("The metric of a model is not a number, so nobody can say whether it is within the tolerance.")
    return value


@door(TargetError)
def all_within(
    model: nn.Module, evaluate: Callable[[nn.Module], Mapping[str, float | Rows]], tolerances: Mapping[str, float]
) -> Callable[[nn.Module], float | Rows]:
    """Several metrics, each with a tolerance of its own, as one metric with a tolerance of 1.

    It is the part of the tolerance that is left to the metric that has lost most of its own: 1 for the original, 0 where that is just used up.
    Where all metrics are `Rows` of the same entries, so is this one, and the tolerances are kept with a confidence.

    Args:
        model: the original, which is evaluated here, once.
        evaluate: model -> metrics in points, higher is better.
        tolerances: points that may be lost, above 0, for every metric that counts.

    Raises:
        TargetError: no tolerances, one that is not above 0, or of a metric that there is not or that is not a number.
    """
    if not tolerances or min(tolerances.values()) <= 0:
        raise TargetError(f"Every metric needs a tolerance above 0, not {dict(tolerances)}.")
    baseline = evaluate(model)
    if not isinstance(baseline, Mapping):
        raise TargetError(f"evaluate must return a dict of metrics by name, not {given(baseline)}.")
    for name in tolerances:
        if name not in baseline:
            raise TargetError(f"There is a tolerance for {name!r}, but the metrics are {', '.join(baseline)}.")
        value_of(metric_of(baseline[name]))
    whole = {name: metric_of(baseline[name]) for name in tolerances}

    def used(before: Sequence[Any], after: Sequence[Any]) -> float:
        """The largest part of a tolerance that is used up, from one model's entries to another's."""
        return max((one.points(before) - one.points(after)) / tolerances[name] for name, one in whole.items() if isinstance(one, Rows))

    def left(network: nn.Module) -> float | Rows:
        found = baseline if network is model else evaluate(network)
        first = found[next(iter(tolerances))]
        if isinstance(first, Rows) and all(isinstance(one, Rows) for one in whole.values()):
            start = next(iter(whole.values()))
            most = max(one.most / tolerances[name] for name, one in whole.items() if isinstance(one, Rows))
            return Rows(first.each, lambda each: 1 - used(start.each, each), most, used)  # type: ignore[union-attr]  # Rows, as all are
        return min(1 - (value_of(whole[name]) - value_of(metric_of(found[name]))) / tolerance for name, tolerance in tolerances.items())

    return left
