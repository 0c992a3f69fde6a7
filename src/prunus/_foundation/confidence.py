"""What is certain about a metric on held-out samples: how many points were lost at most, with some
confidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.warned import warn
from prunus._foundation.wording import given
from prunus.errors import TargetError

DRAWS = 500  # of the bootstrap
MUCH = 0.1  # of a share of one, for a tolerance


@dataclass(frozen=True, eq=False)
class Rows:
    """What every held-out sample contributes to a metric that is no mean of points, and how the contributions
    become points.

    Attributes:
        each: one entry per sample, in the same order for every model: numbers, tensors, whatever `points`
            takes.
        points: entries of any of the samples -> points, higher is better.
        most: points that are lost where everything is.
        lost: (entries of one model, of another) -> points that are lost from the first to the second; None =
            the difference of their points.
    """

    each: Sequence[Any]
    points: Callable[[Sequence[Any]], float]
    most: float = 100.0
    lost: Callable[[Sequence[Any], Sequence[Any]], float] | None = None


Lost = Callable[[Sequence[Any], Sequence[Any]], float]
Metric = float | Tensor | Rows
"""Points, higher is better; or the points of every held-out sample, shape (samples,), of which the mean
counts; or `Rows`.
"""
Evaluate = Callable[[nn.Module], Metric]

CONFIDENCE = 0.95


def check(tolerance: float, confidence: float) -> None:
    """Raise TargetError if one of the numbers is out of range."""
    if not tolerance >= 0:
        raise TargetError(f"tolerance is the number of points that may be lost, 0 or more, not {tolerance}.")
    if not 0.5 <= confidence < 1:
        raise TargetError(f"A confidence lies from 0.5, the mean itself, to below 1, not {confidence}.")


def check_provable(baseline: Metric, tolerance: float, confidence: float) -> None:
    """Raise TargetError where so few samples cannot show that the tolerance is kept, even if nothing changes
    on them, or where they have no number of points: before any work is done. Warns of a tolerance in percent
    for a metric in shares of one.
    """
    _check_finite(baseline)
    if isinstance(baseline, Tensor) and tolerance >= MUCH and _are_shares(baseline):
        warn(
            f"The metric gives every sample from 0 to 1, and a tolerance has its unit: {tolerance:g} of"
            f" {float(baseline.double().mean()):.3g} may be lost. If points of a hundred were meant, let the"
            " metric give 0 to 100."
        )
    if not isinstance(baseline, Tensor) or confidence <= 0.5 or len(torch.unique(baseline)) > 2:
        return  # points of many values show by their spread what they leave open
    count, largest = len(baseline), _largest(baseline)
    least = unseen_loss(count, largest, confidence)
    if least > tolerance:
        needed = (
            f"{math.ceil(math.log(1 - confidence) / math.log(1 - tolerance / largest)):,} that agree, or "
            if 0 < tolerance < largest
            else ""
        )
        raise TargetError(
            f"A loss of at most {tolerance:g} points cannot be shown with {100 * confidence:g} % confidence"
            f" on {count:,} held-out samples, even if all agree: that takes {needed}a tolerance of"
            f" {math.ceil(10 * least) / 10:g} points."
        )


@door(TargetError)
def judged(baseline: Metric, found: Metric, confidence: float) -> tuple[float, float]:
    """The metric of a trial, and the lowest that it has with this confidence, one-sided.

    Samples are paired: what counts is how much the difference of one sample's points spreads, which is far
        less than the points themselves do
    where both models mostly agree. The bound of a mean is Student's; that of another metric comes from
    drawing the samples anew, with replacement (bootstrap, percentiles: Efron 1979), and is widened by as much
    as Student's t is wider than the normal distribution.

    To that comes what so few samples need not show: n samples that agree allow that a share q of all others
    is lost as a whole, with (1 - q)^n = 1 - confidence (Clopper and Pearson 1934 for no event in n; the rule
    of three). It counts by the share of samples that agree, and the two add up as squares, which is within a
    point of the exact bound for up to 10 events in 100. Samples that all lose the same show as little of
    others as those that lose nothing.

    A metric that is not a number, of a trial whose outputs have become all one, say, is (NaN, -infinity).

    Raises TargetError for points that cannot be compared, infinite ones of the baseline among them.
    """
    _check_finite(baseline)
    if math.isnan(number_of(found)):
        return math.nan, -math.inf
    if isinstance(baseline, Rows) and isinstance(found, Rows):
        return value_of(found), value_of(baseline) - _bootstrapped(baseline, found, confidence)
    if not (isinstance(baseline, Tensor) and isinstance(found, Tensor)):
        if isinstance(baseline, (Tensor, Rows)) or isinstance(found, (Tensor, Rows)):
            raise TargetError(
                "The metric gives the points of every sample for one model and a single number for another."
            )
        return value_of(found), value_of(found)
    if baseline.shape != found.shape or baseline.dim() != 1 or not len(baseline):
        raise TargetError(
            "The points of every sample must have one shape (samples,) for all models, not"
            f" {tuple(baseline.shape)} and {tuple(found.shape)}."
        )
    lost = baseline.double().cpu() - found.double().cpu()
    losses, counts = torch.unique(lost, return_counts=True)
    usual = int(counts.argmax())  # the place of zero, where most samples keep their points
    alike = int(counts[usual]) / len(lost) if counts[usual] > 1 else 0.0
    doubt = _doubt(
        float(lost.std(correction=1)) / math.sqrt(len(lost)) if len(lost) > 1 else math.inf,
        len(lost),
        confidence,
    )
    left = max(_largest(baseline), _largest(found)) - max(float(losses[usual]), 0.0)
    unseen = alike * unseen_loss(len(lost), max(left, 0.0), confidence)
    return value_of(found), value_of(baseline) - float(lost.mean()) - math.hypot(doubt, unseen)


def _are_shares(points: Tensor) -> bool:
    """Whether all lie between 0 and 1, and some are more than 0."""
    return bool(((points >= 0) & (points <= 1)).all()) and bool((points > 0).any())


def _check_finite(baseline: Metric) -> None:
    """Raises TargetError where points are infinite, as a signal-to-noise ratio of no noise: whatever is taken
    from them, as many are left.
    """
    points = torch.as_tensor(baseline) if isinstance(baseline, (float, int, Tensor)) else torch.zeros(1)
    if bool(torch.isinf(points).any()):
        raise TargetError(
            "The metric of the model is infinite, so nobody can say how much of it is lost: let it have a"
            " largest value, as by clamp."
        )


def _doubt(error: float, count: int, confidence: float) -> float:
    """How far the mean of others may lie above that of `count` samples whose mean has this standard error."""
    from scipy.special import stdtrit

    if confidence <= 0.5:  # the mean itself is asked for
        return 0.0
    return error if math.isinf(error) else float(stdtrit(count - 1, confidence)) * error


def unseen_loss(count: int, largest: float, confidence: float) -> float:
    """Points that may be lost on others where `count` samples agree, each of which has `largest` points to
    lose.
    """
    return 0.0 if confidence <= 0.5 else largest * (1 - (1 - confidence) ** (1 / count))


def _largest(points: Tensor) -> float:
    return float(points.double().abs().max())


def _bootstrapped(baseline: Rows, found: Rows, confidence: float) -> float:
    """The most that is lost with this confidence."""
    count = len(baseline.each)
    if count != len(found.each) or not count:
        raise TargetError(
            f"The metric has rows of {count} samples for one model and of {len(found.each)} for another."
        )
    lost = baseline.lost or _difference_of_points(baseline, found)
    whole = lost(baseline.each, found.each)
    if confidence <= 0.5:
        return whole
    if count == 1:
        return math.inf
    draw = np.random.default_rng(0)
    places = (draw.integers(count, size=count) for _ in range(DRAWS))
    drawn = [_lost_of(lost, baseline, found, chosen.tolist()) for chosen in places]
    several = [one for one in drawn if not math.isnan(one)]
    if 2 * len(several) < DRAWS:
        raise TargetError(
            "The metric is no number for most draws of the held-out samples, so nothing can be said of it"
            " with a confidence: hold out more samples of what is rare, or judge by the number alone, with a"
            " confidence of 0.5."
        )
    wider = _doubt(1.0, count, confidence) / NormalDist().inv_cdf(confidence) * math.sqrt(count / (count - 1))
    doubt = max(float(np.quantile(several, confidence)) - whole, 0.0) * wider
    agree = sum(_same(a, b) for a, b in zip(baseline.each, found.each)) / count
    return whole + math.hypot(doubt, agree * unseen_loss(count, baseline.most, confidence))


def _lost_of(lost: Lost, baseline: Rows, found: Rows, chosen: Sequence[int]) -> float:
    """What is lost on drawn samples; NaN where the metric is no number there, as an area under a curve is
    none where all are of one class.
    """
    try:
        return float(lost([baseline.each[i] for i in chosen], [found.each[i] for i in chosen]))
    except (ArithmeticError, ValueError):  # on all samples it went well
        return math.nan


def _difference_of_points(baseline: Rows, found: Rows) -> Callable[[Sequence[Any], Sequence[Any]], float]:
    return lambda before, after: baseline.points(before) - found.points(after)


def _same(a: Any, b: Any) -> bool:
    """Whether two entries are equal, whatever containers of numbers, arrays and tensors they are."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def metric_of(returned: Any) -> Metric:
    """What an `evaluate` returned: a number, or the points of every sample; raises TargetError if it is
    neither.
    """
    if isinstance(returned, Rows):
        return returned
    metric = (
        torch.from_numpy(returned)
        if isinstance(returned, np.ndarray) and returned.dtype.kind in "biuf"
        else returned
    )
    if (
        isinstance(metric, Tensor)
        and metric.dim() == 1
        and len(metric)
        and not (metric.is_complex() or metric.is_meta)
    ):
        return metric
    single = (
        metric.item()
        if isinstance(metric, (Tensor, np.generic))
        and metric.ndim == 0
        and not getattr(metric, "is_meta", False)
        else metric
    )
    if isinstance(single, bool) or not isinstance(single, (int, float)):
        raise TargetError(
            "evaluate must return a number, or the points of every sample in one shape (samples,), not"
            f" {given(returned)}."
        )
    return float(single)


def number_of(metric: Metric) -> float:
    """The metric as one number; NaN where it is none, such as a correlation with outputs that are all one."""
    found = metric_of(metric.points(metric.each) if isinstance(metric, Rows) else metric)
    return float(found.double().mean()) if isinstance(found, Tensor) else found  # type: ignore[return-value]


def value_of(metric: Metric) -> float:
    """The metric as one number; raises TargetError if it is none."""
    value = number_of(metric)
    if math.isnan(value):
        raise TargetError(
            "The metric of a model is not a number, so nobody can say whether it is within the tolerance."
        )
    return value
