"""Which samples an epoch trains on, by the last loss of every sample.

A loss that is infinite is that of a sample that has not been seen: it stays, as nothing is known of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunus._foundation.arguments import at_least, door, shaped
from prunus.errors import ConfigError
from prunus.selection.rules import Selection, checked_keep

Losses = NDArray[np.float64]
FIFTH = 1 / 5  # of the mean: paper A's lower bound
_EVEN = 0.2  # the part of importance sampling that is even, so that no weight is above 5
_ROUNDS = 100  # of k-means, at most


@door(ConfigError)
def lower_bound(losses: ArrayLike, ratio: float = FIFTH) -> Selection:
    """Paper A's lower bound, sample by sample: what lies below `ratio` times the mean of the losses goes.
    Nothing is weighed.

    Args:
        losses: (N,) the last loss of every sample.
        ratio: of the mean, 0 up to 1.
    """
    values, seen = _checked(losses)
    if not 0 <= ratio <= 1:
        raise ConfigError(f"The lower bound is a part of the mean loss from 0 to 1, not {ratio}.")
    bound = ratio * values[seen].mean() if seen.any() else 0.0
    return Selection(~seen | (values >= bound))


@door(ConfigError)
def importance_sampled(losses: ArrayLike, keep: float, rng: np.random.Generator) -> Selection:
    """Samples are drawn the likelier the larger their loss, and weigh less in return, so that a step's mean
    gradient is on average that of all data.

    Every sample is drawn or not by itself (Poisson sampling), with probability min(1, c (0.8 l / mean l +
    0.2)), where c makes `keep` of all of it; weights are `keep` over that probability. Proportional to the
    loss as in Schaul et al., ICLR 2016; the even part is our choice.

    Args:
        losses: (N,) the last loss of every sample.
        keep: part of the samples, above 0 up to 1.
        rng: source of randomness.
    """
    values, seen = _checked(losses)
    chance = _chances(np.where(seen, values, values[seen].max(initial=0.0)), checked_keep(keep))
    kept = rng.random(len(values)) < chance
    if not kept.any():
        kept[chance.argmax()] = True
    return Selection(kept, np.where(kept, keep / chance, 1.0).astype(np.float32))


@door(ConfigError)
def sliding_window(
    losses: ArrayLike,
    turn: int,
    rng: np.random.Generator,
    *,
    thin: float = 0.1,
    groups: int = 10,
    width: float = 0.5,
) -> Selection:
    """SeTa (Zhou et al., CVPR 2025): a part goes by chance, the others are grouped by their losses, and a
    window over the groups slides from the easy ones to the hard ones.

    Args:
        losses: (N,) the last loss of every sample.
        turn: how often a choice was made before; the first has all groups.
        rng: source of randomness.
        thin: part that goes by chance, 0 up to below 1.
        groups: how many, by k-means of the losses.
        width: of the window, as a part of the groups, above 0 up to 1.
    """
    values, seen = _checked(losses)
    at_least(0, turn=turn)
    at_least(1, groups=groups)
    wide = max(1, round(groups * checked_keep(width)))
    if not 0 <= thin < 1:
        raise ConfigError(f"The part that goes by chance is a number from 0 to below 1, not {thin}.")
    drawn = np.zeros(len(values), dtype=bool)
    drawn[rng.permutation(len(values))[: max(1, round((1 - thin) * len(values)))]] = True
    if not turn or not seen.any():
        return Selection(drawn)
    group = loss_groups(np.where(seen, values, values[seen].max()), groups)
    first = turn % (groups - wide + 1)
    kept = drawn & (group >= first) & (group < first + wide)
    return Selection(kept if kept.any() else drawn)


@door(ConfigError)
def batchwise_largest(losses: ArrayLike, keep: float, batch: int, rng: np.random.Generator) -> Selection:
    """A data filter: samples are dealt into batches, and of every batch the largest losses stay, those of a
    small proxy as a rule (Jordan, airbench96, 2024: 512 of 1024).

    Args:
        losses: (N,) a loss of every sample.
        keep: part of every batch, above 0 up to 1.
        batch: samples of a batch.
        rng: deals the samples.
    """
    values, _ = _checked(losses)
    at_least(1, batch=batch)
    kept = np.zeros(len(values), dtype=bool)
    order = rng.permutation(len(values))
    for part in np.array_split(order, max(1, -(-len(order) // batch))):
        kept[
            part[np.argsort(-values[part], kind="stable")[: max(1, round(checked_keep(keep) * len(part)))]]
        ] = True
    return Selection(kept)


@door(ConfigError)
def loss_groups(losses: ArrayLike, groups: int) -> NDArray[np.int64]:
    """The group of every loss, (N,), 0 for the smallest: k-means in one dimension, begun at the quantiles. A
    group may be empty.
    """
    values, _ = _checked(losses)
    at_least(1, groups=groups)
    ascending = np.sort(values)
    centres = np.quantile(ascending, (np.arange(groups) + 0.5) / groups)
    sums = np.concatenate([[0.0], np.cumsum(ascending)])
    for _ in range(_ROUNDS):
        ends = np.searchsorted(ascending, (centres[1:] + centres[:-1]) / 2)
        starts, ends = np.concatenate([[0], ends]), np.concatenate([ends, [len(values)]])
        counts = ends - starts
        found = np.where(counts > 0, (sums[ends] - sums[starts]) / np.maximum(counts, 1), centres)
        if np.array_equal(found, centres):
            break
        centres = found
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values, side="right").astype(np.int64)


def _chances(losses: Losses, keep: float) -> Losses:
    """With which probability every sample is drawn, `keep` of all in sum."""
    mean = losses.mean()
    wanted = (1 - _EVEN) * losses / mean + _EVEN if mean > 0 else np.ones(len(losses))
    certain = np.zeros(len(losses), dtype=bool)
    while True:
        left = keep * len(losses) - certain.sum()
        scaled = np.where(certain, 1.0, wanted * left / max(wanted[~certain].sum(), 1e-300))
        more = scaled > 1
        if not more.any():
            return scaled
        certain |= more


def _checked(losses: ArrayLike) -> tuple[Losses, NDArray[np.bool_]]:
    """Losses, and which samples were seen."""
    values: Any = np.asarray(losses, dtype=np.float64)
    shaped("samples", losses=values)
    if np.isnan(values).any() or not len(values):
        raise ConfigError("Every sample needs a loss that is a number, or infinite where it was not seen.")
    return values, np.isfinite(values)
