"""The ways to train that `benchmarks.frontier` compares, at equal budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.twofold_variants import Selected, by_points
from prunus.selection import EasyDropped, LowerBound, Random, Scheduled, critical
from prunus.training import Curriculum

HALF = 0.5  # of the dense network's MACs are left where filters go, and where they never were
FREEZE = 0.5  # part of the epochs that train the smaller network
CONTROL, SCRATCH = "all data, shortened", "half of the MACs, from scratch"
RANDOM, RULE = "random share", "two-fold: lower bound, half of the MACs"
Choose = Callable[[Selected, float], Curriculum]
"""(samples, budget) -> what chooses among them."""


@dataclass(frozen=True)
class Variant:
    """A way to train.

    Attributes:
        choose: what chooses the samples; None = all of them.
        share: of the samples that it trains on, at a guess, by which the number of epochs meets the budget;
            rows of held-out samples correct it.
        whole: as many epochs as the full schedule has, whatever the budget: the share of the samples is what
            meets it.
        removal: filters go in the middle of the training.
        small: the network has half of the MACs from the start.
        config: settings that differ from the usual ones.
        scale: of the peak rates to begin with.
    """

    choose: Choose | None = None
    share: float = 1.0
    whole: bool = False
    removal: bool = False
    small: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0

    @property
    def relative(self) -> float:
        """What an epoch costs, of one of the dense network on all samples, at a guess."""
        network = HALF if self.small else 1 - FREEZE * (1 - HALF) if self.removal else 1.0
        return self.share * network

    def epochs(self, budget: float, full: int) -> int:
        """Of a training at a budget."""
        return full if self.whole else max(2, round(budget * full / self.relative))


def by_chance(selected: Selected, budget: float) -> Curriculum:
    """The share of the samples that meets the budget."""
    return Scheduled(Random(len(selected.labels), min(budget, 1.0), selected.seed), selected.labels)


def bounded(selected: Selected, budget: float) -> Curriculum:
    """Samples far below the mean of the last losses go; the first two epochs and the last fifth see all."""
    return Scheduled(LowerBound(len(selected.labels)), selected.labels, warmup=2, annealing=0.2)


def easy_dropped(selected: Selected, budget: float) -> Curriculum:
    """In the manner of InfoBatch, with its share of the epochs on all data at the end."""
    chooser = EasyDropped(len(selected.labels), 0.5, selected.seed)
    return Scheduled(chooser, selected.labels, warmup=1, annealing=0.125)


def papers(softer: bool, selected: Selected, budget: float) -> Curriculum:
    """Aggregated points under the paper's rule, scored every other epoch."""
    return by_points(partial(critical, softer=softer), selected, every=2, annealing=0.2)


VARIANTS: dict[str, Variant] = {
    CONTROL: Variant(),
    RANDOM: Variant(by_chance, whole=True),
    "two-fold: lower bound": Variant(bounded, share=0.8),
    "two-fold: easy dropped": Variant(easy_dropped, share=0.75),
    "two-fold: paper's rule, softer": Variant(partial(papers, True), share=0.75),
    "two-fold: paper's rule": Variant(partial(papers, False), share=0.7),
    SCRATCH: Variant(small=True),
    "removal in the middle, half of the MACs": Variant(removal=True),
    RULE: Variant(bounded, share=0.8, removal=True),
}
