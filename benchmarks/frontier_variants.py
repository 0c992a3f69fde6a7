"""The ways to train that `benchmarks.frontier` compares, at equal budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.twofold_variants import Selected, by_points
from prunus.runs.recipe import read
from prunus.selection import EasyDropped, LowerBound, Random, Scheduled, critical
from prunus.training import Curriculum, TrainConfig
from prunus.training.config import size_factor

HALF = 0.5  # of the dense network's MACs are left where filters go, and where they never were
FREEZE = 0.5  # part of the epochs that train the smaller network
TEACHER = 1 / 3  # of the epochs train the teacher, besides
LISTENING = 1 / 3  # of a step's cost is the teacher's forward
CONTROL, SCRATCH = "all data, shortened", "half of the MACs, from scratch"
REMOVAL = "removal in the middle, half of the MACs"
FAST = "fast"
FAST_RULE = "fast and two-fold: lower bound, half of the MACs"
FAST_AT_ONCE = f"{FAST_RULE}, at once"
FAST_SCRATCH = "fast, half of the MACs, from scratch"
MUON = 0.1  # its rates are those of AdamW, so much smaller than those of SGD
RANDOM, RULE = "random share", "two-fold: lower bound, half of the MACs"
AT_ONCE = f"{RULE}, at once"
EASY = "two-fold: easy dropped, half of the MACs"
EASY_AT_ONCE = f"{EASY}, at once"
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
        freeze: part of the epochs that train the smaller network.
        small: the network has half of the MACs from the start.
        taught: a quickly trained network of the same kind teaches: it has a third of the epochs besides.
        config: settings that differ from the usual ones.
        scale: of the peak rates to begin with.
    """

    choose: Choose | None = None
    share: float = 1.0
    whole: bool = False
    removal: bool = False
    freeze: float = FREEZE
    small: bool = False
    taught: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0

    @property
    def relative(self) -> float:
        """What an epoch costs, of one of the dense network on all samples, at a guess."""
        network = HALF if self.small else 1 - self.freeze * (1 - HALF) if self.removal else 1.0
        return self.share * network + (LISTENING + TEACHER if self.taught else 0.0)

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


def bundled() -> dict[str, Any]:
    """What the recipe `fast` says of the training, but for the peak rate, which is found as for all ways."""
    settings = {one.name for one in fields(TrainConfig)} - {"lr"}
    return {key: value for key, value in read(Path("fast")).items() if key in settings}


def grown(first: float, full_from: float) -> Variant:
    """Images that grow."""
    config = {"first_size": first, "full_size_from": full_from}
    return Variant(config=config, share=growth(config))


def growth(config: dict[str, Any]) -> float:
    """What an epoch costs on average, of one at full size, over the usual number of epochs."""
    usual = TrainConfig(**config | {"epochs": 12})
    return mean(size_factor(usual, epoch) ** 2 for epoch in range(12))


INGREDIENTS: dict[str, Variant] = {
    "with label smoothing 0.1": Variant(config={"label_smoothing": 0.1}),
    "with EMA 0.99": Variant(config={"ema": 0.99}),
    "with EMA 0.998": Variant(config={"ema": 0.998}),
    "with the mean of the last tenth": Variant(config={"average": 0.1}),
    "with the mean of the last fifth": Variant(config={"average": 0.2}),
    "with alternating flips": Variant(config={"flips": "alternating"}),
    "with shifts by 2 pixels": Variant(config={"shift": 2}),
    "with cutout": Variant(config={"augment": "crop-flip-cutout"}),
    "with the cosine schedule, 200 steps of warm-up": Variant(
        config={"schedule": "cosine", "warmup_steps": 200}
    ),
    "with batches growing from a quarter": Variant(config={"first_batch": 0.25}),
    "with batches of 64": Variant(config={"batch_size": 64}),
    "with Muon": Variant(config={"optimizer": "muon"}, scale=MUON),
    "with AdamW": Variant(config={"optimizer": "adamw"}, scale=MUON),
    "with a quickly trained teacher": Variant(taught=True),
    "with torch.compile": Variant(config={"compile": True}),
    "with images growing from a half": grown(0.5, 0.75),
    "with images growing from three quarters": grown(0.75, 0.75),
    "with growing images, full size in the last half": grown(0.5, 0.5),
}

VARIANTS: dict[str, Variant] = {
    CONTROL: Variant(),
    RANDOM: Variant(by_chance, whole=True),
    "two-fold: lower bound": Variant(bounded, share=0.8),
    "two-fold: easy dropped": Variant(easy_dropped, share=0.75),
    "two-fold: paper's rule, softer": Variant(partial(papers, True), share=0.75),
    "two-fold: paper's rule": Variant(partial(papers, False), share=0.7),
    SCRATCH: Variant(small=True),
    REMOVAL: Variant(removal=True),
    RULE: Variant(bounded, share=0.8, removal=True),
    f"{RULE}, early": Variant(bounded, share=0.8, removal=True, freeze=0.75),
    AT_ONCE: Variant(bounded, share=0.8, removal=True, freeze=0.9),
    EASY: Variant(easy_dropped, share=0.75, removal=True),
    EASY_AT_ONCE: Variant(easy_dropped, share=0.75, removal=True, freeze=0.9),
    FAST: Variant(share=growth(bundled()), config=bundled(), scale=MUON),
    FAST_RULE: Variant(bounded, share=0.8 * growth(bundled()), removal=True, config=bundled(), scale=MUON),
    FAST_AT_ONCE: Variant(
        bounded, share=0.8 * growth(bundled()), removal=True, freeze=0.9, config=bundled(), scale=MUON
    ),
    FAST_SCRATCH: Variant(share=growth(bundled()), small=True, config=bundled(), scale=MUON),
    **INGREDIENTS,
}
