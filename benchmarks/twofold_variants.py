"""The ways to train that `benchmarks.twofold` compares."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from prunus.data import Split
from prunus.selection import (
    Aggregated,
    EasyDropped,
    Points,
    Random,
    Scheduled,
    aggregate,
    area,
    critical,
    fixed_ratio,
    mean_division,
    principal_components,
)
from prunus.training import Curriculum, Normalise

FROM_HALF = {"first_size": 0.5, "full_size_from": 0.75}
ONCE = 10**6
RATES = (10, 20, 30)  # percent of the filters, as published
FROM_THREE_QUARTERS = {"first_size": 0.75, "full_size_from": 0.75}


class Selected:
    """What the curricula of one training are made of; the time for aggregated points counts to it."""

    def __init__(self, split: Split, normalise: Normalise, seed: int) -> None:
        self.split, self.normalise, self.seed, self.seconds = split, normalise, seed, 0.0
        self.labels = split.labels.numpy()
        self._points: Points | None = None

    def points(self) -> Points:
        """Coarse and fine points as in the paper: subsets of 100, 30 % fine points."""
        if self._points is None:
            start = time.perf_counter()
            samples = self.split.images.numpy()
            self._points = Points(
                samples, aggregate(self.labels, principal_components(samples, 16)), self.normalise
            )
            self.seconds = time.perf_counter() - start
        return self._points


@dataclass(frozen=True)
class Rival:
    """Train, remove once, train on: the order of the papers that pruning while training is compared with.

    Attributes:
        slimming: penalise batch-norm scales and remove the smallest of all (network slimming); else the
            filters of smallest l1 norm inside every block go, the same part of each (PFEC).
        macs: what is left, the same for both; that of soft pruning at 30 %.
    """

    slimming: bool
    macs: float = 0.54


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        epochs: part of the full number of epochs.
        curriculum: what chooses the samples; None = all of them.
        rate: of soft pruning; 0 = none.
        p: norm of the filters.
        every: epochs between two prunings; ONCE is before the freeze only.
        freeze: part of the epochs in which no filter grows back.
        folded: whether filters are taken with the batch norm behind them.
        from_start: prune before the first epoch too.
        whole_streams: only filters inside the blocks go, as published figures of FLOPs have it.
        rival: another method in place of all these.
        config: settings that differ from the full training's.
    """

    epochs: float = 1.0
    curriculum: Callable[[Selected], Curriculum] | None = None
    rate: float = 0.0
    p: float = 2
    every: int = 1
    freeze: float = 0.5
    folded: bool = True
    from_start: bool = False
    whole_streams: bool = False
    rival: Rival | None = None
    config: dict[str, Any] = field(default_factory=dict)


def by_points(rule: Any, selected: Selected, every: int = 1, annealing: float = 0.0) -> Curriculum:
    """Aggregated points under a rule, after one epoch on all samples, and all samples at the end."""
    return Scheduled(
        Aggregated(selected.points(), rule, every),
        selected.labels,
        warmup=1,
        annealing=annealing,
        seed=selected.seed,
    )


def by_chance(selected: Selected, share: float = 0.5) -> Curriculum:
    """The control: a share of the samples by chance."""
    return Scheduled(Random(len(selected.labels), share, selected.seed), selected.labels)


def by_loss(drop: float, annealing: float, selected: Selected) -> Curriculum:
    """Easy samples dropped by chance, the others of them re-weighted, and all samples at the end."""
    return Scheduled(
        EasyDropped(len(selected.labels), drop, selected.seed), selected.labels, annealing=annealing
    )


def half(effects: Any, subsets: Any, fine: Any) -> Any:
    """SlimML's fixed ratio at one half."""
    return fixed_ratio(effects, subsets, 0.5)


def above_mean(effects: Any, subsets: Any, fine: Any) -> Any:
    """SlimML's mean division."""
    return mean_division(effects, subsets, 1.0)


def half_area(effects: Any, subsets: Any, fine: Any) -> Any:
    """SlimML's area rule at one half."""
    return area(effects, subsets, 0.5)


def whole(rule: Any, percent: int, annealing: float = 0.0) -> Variant:
    """Both folds of the paper: aggregated points under its rule, and soft pruning as SFP's code has it."""
    chosen = partial(by_points, rule, every=3, annealing=annealing)
    return replace(published(percent), curriculum=chosen)


def published(percent: int) -> Variant:
    """Soft pruning as the code of its authors does it."""
    return Variant(rate=percent / 100, freeze=0, folded=False, from_start=True)


SOFTER = partial(critical, softer=True)
SHARE = 0.65  # of the samples, about what the paper's rule leaves over a training
_CRITICAL = partial(by_points, critical, every=3)
_ANNEALED = partial(by_loss, 0.5, 0.25)
_EASY = partial(by_loss, 0.6, 0.0)

VARIANTS: dict[str, Variant] = {
    "all data": Variant(),
    "all data, half the epochs": Variant(epochs=1 / 2),
    "random half": Variant(curriculum=by_chance),
    "paper's rule": Variant(curriculum=_CRITICAL),
    "paper's rule, all data at the end": Variant(
        curriculum=partial(by_points, critical, every=3, annealing=0.25)
    ),
    "paper's rule, scored after every epoch": Variant(curriculum=partial(by_points, critical)),
    "fixed ratio 0.5": Variant(curriculum=partial(by_points, half, every=3)),
    "mean division": Variant(curriculum=partial(by_points, above_mean, every=3)),
    "area 0.5": Variant(curriculum=partial(by_points, half_area, every=3)),
    "easy dropped 0.75, 5/6 of the epochs": Variant(epochs=5 / 6, curriculum=partial(by_loss, 0.75, 0.0)),
    "easy dropped 0.75": Variant(curriculum=partial(by_loss, 0.75, 0.0)),
    "two-fold: easy dropped 0.75, 10 % pruned once": Variant(
        curriculum=partial(by_loss, 0.75, 0.0), rate=0.1, every=ONCE
    ),
    "growing images": Variant(config=FROM_HALF),
    "growing images, easy dropped 0.5, all data at the end": Variant(curriculum=_ANNEALED, config=FROM_HALF),
    "images growing from 3/4, easy dropped 0.6": Variant(curriculum=_EASY, config=FROM_THREE_QUARTERS),
    "two-fold: growing images, easy dropped 0.5, all data at the end, soft pruning 10 %": Variant(
        curriculum=_ANNEALED, rate=0.1, config=FROM_HALF
    ),
    "two-fold: growing images, easy dropped 0.5, all data at the end, soft pruning 30 %": Variant(
        curriculum=_ANNEALED, rate=0.3, config=FROM_HALF
    ),
    "two-fold: growing images, easy dropped 0.5, all data at the end, soft pruning 10 %, filters alone": (
        Variant(curriculum=_ANNEALED, rate=0.1, folded=False, config=FROM_HALF)
    ),
    "two-fold: growing images, easy dropped 0.5, all data at the end, 10 % pruned once": Variant(
        curriculum=_ANNEALED, rate=0.1, every=ONCE, config=FROM_HALF
    ),
    "two-fold: growing images, easy dropped 0.5, all data at the end, 30 % pruned once": Variant(
        curriculum=_ANNEALED, rate=0.3, every=ONCE, config=FROM_HALF
    ),
    "two-fold: images growing from 3/4, easy dropped 0.6, soft pruning 10 %": Variant(
        curriculum=_EASY, rate=0.1, config=FROM_THREE_QUARTERS
    ),
    "two-fold: images growing from 3/4, easy dropped 0.6, soft pruning 30 %": Variant(
        curriculum=_EASY, rate=0.3, config=FROM_THREE_QUARTERS
    ),
    "two-fold of the paper: its rule, soft pruning 30 %": Variant(
        curriculum=_CRITICAL, rate=0.3, freeze=0, folded=False
    ),
    "soft pruning 10 %": Variant(rate=0.1),
    "soft pruning 20 %": Variant(rate=0.2),
    "soft pruning 30 %": Variant(rate=0.3),
    "soft pruning 30 %, filters alone": Variant(rate=0.3, folded=False),
    "soft pruning 30 %, never frozen": Variant(rate=0.3, freeze=0),
    "30 % pruned once": Variant(rate=0.3, every=ONCE),
    "soft pruning of the paper, 10 %": Variant(rate=0.1, freeze=0, folded=False),
    "soft pruning of the paper, 20 %": Variant(rate=0.2, freeze=0, folded=False),
    "soft pruning of the paper, 30 %": Variant(rate=0.3, freeze=0, folded=False),
    "soft pruning of the paper, 30 %, l1 norm": Variant(rate=0.3, p=1, freeze=0, folded=False),
    **{f"soft pruning as its authors' code does it, {percent} %": published(percent) for percent in RATES},
    "soft pruning as its authors' code does it, 30 %, streams whole": replace(
        published(30), whole_streams=True
    ),
    **{f"paper's two folds, {percent} %": whole(critical, percent) for percent in RATES},
    **{f"paper's two folds, softer rule, {percent} %": whole(SOFTER, percent) for percent in RATES},
    "paper's two folds, all data at the end, 30 %": whole(critical, 30, 0.25),
    "paper's two folds, softer rule, all data at the end, 30 %": whole(SOFTER, 30, 0.25),
    "samples by chance, soft pruning as its authors' code does it, 30 %": replace(
        published(30), curriculum=partial(by_chance, share=SHARE)
    ),
    "soft pruning 30 %, streams whole": Variant(rate=0.3, whole_streams=True),
    "PFEC, 54 % of the MACs": Variant(rival=Rival(slimming=False)),
    "network slimming, 54 % of the MACs": Variant(rival=Rival(slimming=True)),
}
