"""Which samples an epoch trains on: from effect values to the samples that are kept and, for some rules,
their weights.

Effect values that are infinite or not a number count as 0, as in SlimML's code. No rule returns an empty
selection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunus._foundation.arguments import at_least, door, one_each, shaped
from prunus.errors import ConfigError
from prunus.selection.subsets import Indices, Subsets

Mask = NDArray[np.bool_]
Effects = NDArray[np.float64]
# the part of the subsets, those of the largest effect, that stays when a rule would keep none (our choice)
_LEAST = 0.1
_LOWER = 5  # paper A: the lower bound is the upper bound divided by five
_OUTLIERS = 0.05  # SlimML's area rule leaves the largest effects out of the area


@dataclass(frozen=True, eq=False)
class Selection:
    """Samples to train on.

    Attributes:
        kept: (N,) whether a sample is trained on.
        weights: (N,) what its loss is multiplied by, or None for 1 everywhere.
    """

    kept: Mask
    weights: NDArray[np.float32] | None = None

    @property
    def indices(self) -> Indices:
        """The kept samples, ascending."""
        return np.flatnonzero(self.kept)

    @property
    def fraction(self) -> float:
        """The part of all samples that is kept."""
        return float(self.kept.mean())


@door(ConfigError)
def critical(
    effects: ArrayLike,
    subsets: Subsets,
    fine_effects: Callable[[Indices], ArrayLike],
    softer: bool = False,
) -> Selection:
    """Paper A's rule with two bounds: U is the mean effect of the coarse points, and the lower bound is U /
    5.

    A subset at or above U is critical as a whole, one below the lower bound is redundant as a whole. Of those
    in between the fine points are looked at, and the samples of those at or above the mean of what was looked
    at are kept (our choice; the paper does not say how the two levels meet).

    Args:
        effects: (S,) effect values of the coarse points.
        subsets: what the points stand for.
        fine_effects: fine points (their numbers) -> their effect values; called once, with those of the
            undecided subsets, if there are any.
        softer: keep the fine points at or above the lower bound, another reading of the paper, in which the
            two bounds stand for the two levels.
    """
    coarse = clean(effects, len(subsets))
    upper = coarse.mean()
    if upper == 0:
        return everything(subsets)
    whole = _at_least_mean(coarse)
    open_ = ~whole & (coarse >= upper / _LOWER)
    keep = whole[subsets.subset_of_fine]
    points = np.flatnonzero(open_[subsets.subset_of_fine])
    if len(points):
        fine = clean(fine_effects(points), len(points))
        keep[points] = fine >= upper / _LOWER if softer else _at_least_mean(fine)
    return Selection(keep[subsets.fine_of_sample])


@door(ConfigError)
def fixed_ratio(effects: ArrayLike, subsets: Subsets, drop: float) -> Selection:
    """SlimML: the `drop` (0 to 1) subsets of the lowest effect go."""
    coarse = clean(effects, len(subsets))
    return _of_subsets(coarse, _ranks(coarse) >= int(_part(drop) * len(coarse)), subsets)


@door(ConfigError)
def mean_division(effects: ArrayLike, subsets: Subsets, ratio: float = 1.0) -> Selection:
    """SlimML: subsets stay whose effect is at least `ratio` times the mean."""
    coarse = clean(effects, len(subsets))
    return _of_subsets(coarse, coarse >= ratio * coarse.mean(), subsets)


@door(ConfigError)
def area(effects: ArrayLike, subsets: Subsets, drop: float) -> Selection:
    """SlimML: the lowest effects go as long as their sum stays below `drop` times the sum of all but the top
    5 %.
    """
    coarse = clean(effects, len(subsets))
    ascending = np.argsort(coarse, kind="stable")
    inner = coarse[ascending][: len(coarse) - int(_OUTLIERS * len(coarse))].sum()
    keep = np.ones(len(coarse), dtype=bool)
    keep[ascending[np.cumsum(coarse[ascending]) < _part(drop) * inner]] = False
    return _of_subsets(coarse, keep, subsets)


@door(ConfigError)
def easy_dropped(losses: ArrayLike, drop: float, rng: np.random.Generator) -> Selection:
    """In the manner of InfoBatch (Qin et al., ICLR 2024): of the samples whose last loss is below the mean,
    each goes with probability `drop`, and the others of them weigh 1 / (1 - drop), so that the expected
    gradient is that of all data.

    Args:
        losses: (N,) the last loss of every sample; infinite for one that has not been seen, which counts as
            hard.
        drop: probability, 0 up to below 1.
        rng: source of randomness.
    """
    values = np.asarray(losses, dtype=np.float64)
    shaped("samples", losses=values)
    checked_drop(drop)
    seen = np.isfinite(values)
    easy = seen & (values < values[seen].mean()) if seen.any() else np.zeros(len(values), dtype=bool)
    kept = ~easy | (rng.random(len(values)) >= drop)
    return Selection(kept, np.where(easy & kept, 1 / (1 - drop), 1.0).astype(np.float32))


@door(ConfigError)
def at_random(count: int, keep: float, rng: np.random.Generator) -> Selection:
    """A part of all samples by chance: the control that every rule must beat."""
    at_least(1, count=count)
    kept = np.zeros(count, dtype=bool)
    kept[rng.permutation(count)[: max(1, round(_part(keep) * count))]] = True
    return Selection(kept)


@door(ConfigError)
def everything(subsets: Subsets) -> Selection:
    """All samples."""
    return Selection(np.ones(len(subsets.order), dtype=bool))


@door(ConfigError)
def guarded(selection: Selection, labels: ArrayLike, least: float, rng: np.random.Generator) -> Selection:
    """A selection in which every class keeps at least the part `least` of its samples; what is missing is
    drawn from the class by chance.

    Where samples have weights, a class that grows weighs as much as before.
    """
    classes, kept = np.asarray(labels), selection.kept.copy()
    one_each("labels", classes, "samples", len(kept))
    weights = None if selection.weights is None else selection.weights.copy()
    for kind in np.unique(classes):
        mine = np.flatnonzero(classes == kind)
        missing = int(np.ceil(_part(least) * len(mine))) - int(kept[mine].sum())
        if missing > 0:
            before = 0.0 if weights is None else float(weights[mine][kept[mine]].sum())
            kept[rng.choice(mine[~kept[mine]], missing, replace=False)] = True
            if weights is not None and before:
                weights[mine] *= before / float(weights[mine][kept[mine]].sum())
    return Selection(kept, weights)


def clean(effects: ArrayLike, count: int) -> Effects:
    """Effect values with 0 for what is no finite number; raises ConfigError if there are not `count`."""
    values: Any = np.asarray(effects, dtype=np.float64)
    if values.shape != (count,):
        raise ConfigError(f"There are {count} points, but effect values of shape {values.shape}.")
    return np.where(np.isfinite(values), values, 0.0)


def checked_drop(drop: float) -> float:
    """The probability; raises ConfigError if it is none that easy samples may be dropped with."""
    if not 0 <= drop < 1:
        raise ConfigError(f"Easy samples are dropped with a probability from 0 to below 1, not {drop}.")
    return drop


def checked_keep(keep: float) -> float:
    """The part; raises ConfigError if no samples or more than all would be kept."""
    if not 0 < keep <= 1:
        raise ConfigError(f"The part of the samples to keep lies above 0 and up to 1, not {keep}.")
    return keep


def _at_least_mean(values: Effects) -> Mask:
    """Values at or above their mean; all, should they be equal and their mean be rounded up."""
    return np.asarray(values >= min(values.mean(), values.max()))


def _of_subsets(effects: Effects, keep: Mask, subsets: Subsets) -> Selection:
    if not keep.any():
        keep = _ranks(effects) >= len(effects) - max(1, round(_LEAST * len(effects)))
    return Selection(keep[subsets.subset_of_sample])


def _ranks(values: Effects) -> Indices:
    """The place of every value in ascending order; the first of equal ones comes first."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _part(value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"A part of the samples is a number from 0 to 1, not {value}.")
    return value
