"""The ways of `benchmarks.every_method`: what every score, method and rule of selection by name makes of one
trained network, and how many of the epochs that makes use of.

A method that finds its own size by a strength is run at one that is meant to leave about as much as is asked
for (those of thresholds and AutoPrune were tried on held-out samples, for 40 steps; the others follow from
how far numbers walk in so many steps); where it leaves more, the channels that it holds worth least go too,
and where it leaves less, that stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

import prunus
from benchmarks.every_method_rules import BY_SAMPLES
from benchmarks.recipe import settings
from benchmarks.tuned_networks import Lesson, anew, blocks, by_default, cost, dense, pruned
from prunus import models, scores
from prunus.methods.adversarial import PAPER, adversarial_pruning
from prunus.methods.at_initialisation import snip_pruning
from prunus.methods.autoprune import autoprune
from prunus.methods.channels_and_layers import channels_and_layers
from prunus.methods.common import Journal, Outcome
from prunus.methods.greedy import greedy_pruning
from prunus.methods.history import Round, history_pruning
from prunus.methods.importance import importance_pruning
from prunus.methods.named import SCORES
from prunus.methods.play_and_prune import play_and_prune, relative_norms
from prunus.methods.selective_decay import selective_decay
from prunus.methods.shrinking import shrink
from prunus.methods.slimming import slimming
from prunus.methods.soft import soft_pruning
from prunus.methods.thresholds import threshold_pruning
from prunus.methods.train_gated import train_gated
from prunus.paint.graph import ChannelGraph
from prunus.runs.recipe import Select
from prunus.tasks import Task
from prunus.training import TrainConfig

Kind = Literal["score", "method", "samples", "control"]
ANY = 99.0  # points: a tolerance that stops no round
CLASSES = 10


@dataclass(frozen=True, eq=False)
class Course:
    """What a way has to go on.

    Attributes:
        lesson: the trained network, the samples, the share of the MACs that is left, and the seed.
        task: the samples once more, without those that are reported on.
        network: its name.
        epochs: in all.
        lr: peak learning rate of every training.
        folder: for checkpoints.
        name: of the files there.
    """

    lesson: Lesson
    task: Task
    network: str
    epochs: int
    lr: float
    folder: Path
    name: str

    @property
    def half(self) -> int:
        """Of the epochs, at least one: for methods that train before they remove."""
        return max(1, self.epochs // 2)

    def config(self, epochs: int, **changed: Any) -> TrainConfig:
        """A training of so many epochs."""
        return settings(epochs, self.lr, self.lesson.seed, **changed)

    def steps(self, epochs: int) -> int:
        """Of a training."""
        return epochs * -(-len(self.lesson.about.train) // self.config(1).batch_size)

    @property
    def journal(self) -> Journal:
        """A training of a method that was broken off goes on."""
        return Journal(self.folder / f"{self.name}.begin", resume=True)


@dataclass(frozen=True, eq=False)
class Begun:
    """What a way makes of the network.

    Attributes:
        network: as small as is asked for.
        spent: epochs that went into it; the others are for tuning.
        alone: share of the MACs that the method left by itself, where it finds its own size.
    """

    network: nn.Module
    spent: int = 0
    alone: float | None = None


Begin = Callable[[Course], Begun]


@dataclass(frozen=True, eq=False)
class Way:
    """One row of the table.

    Attributes:
        kind: what it is a row of.
        begin: makes the small network.
        samples: (course, network) -> what chooses the samples of the tuning; None = all of them.
        listed: the name under which `prunus methods` shows it; none for variants and controls.
    """

    kind: Kind
    begin: Begin
    samples: Callable[[Course, nn.Module], Any] | None = None
    listed: str = ""


def scored(score: str, compensate: str = "none") -> Begin:
    """A score alone, the same share of every layer."""

    def begun(course: Course) -> Begun:
        lesson = course.lesson
        return Begun(
            shrink(
                lesson.dense,
                course.task,
                macs=lesson.macs,
                score=score,
                compensate=compensate,
                scope="uniform",
                seed=lesson.seed,
            ).model
        )

    return begun


def plain(begin: Callable[[Lesson], nn.Module]) -> Begin:
    """A way of `benchmarks.tuned_networks`."""
    return lambda course: Begun(begin(course.lesson))


def rate_for(course: Course, worth: Callable[[ChannelGraph], Tensor]) -> float:
    """The smallest rate, to a hundredth, that leaves no more than the MACs."""
    graph = prunus.trace(course.lesson.dense, course.lesson.about.example)
    ranks = worth(graph)
    for hundredth in range(1, 100):
        plan = prunus.plan(graph, ranks, rate=hundredth / 100)
        if plan.after.macs <= course.lesson.macs * plan.before.macs:
            return hundredth / 100
    raise SystemExit(f"No rate leaves {course.lesson.macs:.0%} of the MACs.")


def greedy(course: Course) -> Begun:
    """l1 norms, layer by layer."""
    rate = rate_for(course, lambda graph: scores.norm(graph, 1))
    small = greedy_pruning(course.lesson.dense, course.task, rate=rate).model
    return Begun(small)


def from_nothing(course: Course) -> Begun:
    """SNIP: an untrained network, for all epochs."""
    torch.manual_seed(course.lesson.seed)
    new = models.build(course.network, num_classes=CLASSES)
    outcome = snip_pruning(
        new,
        course.task,
        macs=course.lesson.macs,
        config=course.config(course.epochs),
        journal=course.journal,
    )
    return Begun(outcome.model, course.epochs)


def softly(**how: Any) -> Begin:
    """Soft pruning over all epochs; what is zero at the end goes."""

    def begun(course: Course) -> Begun:
        outcome = soft_pruning(
            course.lesson.dense,
            course.task,
            rate=rate_for(course, lambda graph: scores.norm(graph, 2)),
            round_to=1,
            config=course.config(course.epochs),
            journal=course.journal,
            **how,
        )
        return Begun(outcome.model, course.epochs)

    return begun


def slimmed(course: Course) -> Begun:
    """The penalty for the first half of the epochs."""
    outcome = slimming(
        course.lesson.dense,
        course.task,
        macs=course.lesson.macs,
        config=course.config(course.half),
        journal=course.journal,
    )
    return Begun(outcome.model, course.half)


def decayed(course: Course) -> Begun:
    """Decay for the first half of the epochs, at a rate that falls ten times less at the milestones: where it
    falls to nothing, nothing decays. The factor stays below where the decay would overshoot.
    """
    outcome = selective_decay(
        course.lesson.dense,
        course.task,
        macs=course.lesson.macs,
        last=1e3,
        every=10,
        config=course.config(course.half, schedule="step"),
        journal=course.journal,
    )
    return Begun(outcome.model, course.half)


def by_history(course: Course) -> Begun:
    """One round: a third of the epochs writes the history, one or more pull, and the others retrain."""
    first = max(1, course.epochs // 3)
    pull = max(1, course.epochs // 6)
    again = max(1, course.epochs - first - pull)
    rate = rate_for(course, lambda graph: scores.norm(graph, 1))
    outcome = history_pruning(
        course.lesson.dense,
        course.task,
        tolerance=ANY,
        rounds=[Round(rate, course.config(pull), course.config(again))],
        config=course.config(first),
        journal=course.journal,
    )
    return Begun(outcome.model, first + pull + again)


def by_importance(course: Course) -> Begun:
    """One trial: half of the epochs with weights, the others without."""
    outcome = importance_pruning(
        course.lesson.dense,
        course.task,
        tolerance=ANY,
        step=1 - course.lesson.macs,
        most=1,
        config=course.config(course.half),
    )
    return Begun(outcome.model, 2 * course.half)


def played(course: Course) -> Begun:
    """One round of the game, of a quarter of the epochs with and without the penalty; what is too much after
    it goes by the same norms.
    """
    quarter = max(1, course.epochs // 4)
    outcome = play_and_prune(
        course.lesson.dense,
        course.task,
        tolerance=ANY,
        alpha=0.4,
        strength=1e-4 / ANY,
        delta=0.8 / ANY,
        rounds=1,
        config=course.config(quarter),
    )
    return cut_down(course, outcome, outcome.model, relative_norms, 2 * quarter)


def in_first_half(course: Course, method: Callable[..., Outcome], name: str, **settings: Any) -> Begun:
    """What trains its own numbers for channels, for the first half of the epochs; settings go before ours."""
    usual = {"strength": STRENGTHS[name], "config": course.config(course.half)}
    return by_numbers(course, method(course.lesson.dense, course.task, **usual | settings))


def thresholded(course: Course) -> Begun:
    """Thresholds."""
    return in_first_half(course, threshold_pruning, "thresholds", journal=course.journal)


def gated(course: Course) -> Begun:
    """AutoPrune's gates, which walk the same way in any number of steps."""
    gate_lr = 1.0 / course.steps(course.half)
    return in_first_half(course, autoprune, "autoprune", gate_lr=gate_lr, journal=course.journal)


def fooled(course: Course) -> Begun:
    """GAL, with a hundred updates of the masks, at the paper's rate."""
    return in_first_half(
        course,
        adversarial_pruning,
        "adversarial",
        every=max(1, course.steps(course.half) // 100),
        config=replace(course.config(course.half), lr=PAPER.lr),
    )


def of_both_kinds(course: Course) -> Begun:
    """Gates of channels and blocks."""
    return in_first_half(course, channels_and_layers, "channels-and-layers", journal=course.journal)


def on_average(course: Course) -> Begun:
    """Gates that decide input by input, for all epochs."""
    outcome = train_gated(
        course.lesson.dense,
        course.task,
        budget=course.lesson.macs,
        config=course.config(course.epochs),
        journal=course.journal,
    )
    return Begun(outcome.model, course.epochs, float(outcome.found["expected"]))


STRENGTHS = {"thresholds": 0.3, "autoprune": 0.3, "adversarial": 0.1, "channels-and-layers": 1.0}


def by_numbers(course: Course, outcome: Outcome) -> Begun:
    """What a training of numbers left after the first half of the epochs."""
    assert outcome.dense is not None
    numbers: Tensor = outcome.found["numbers"]
    return cut_down(course, outcome, outcome.dense, lambda graph: numbers, course.half)


def cut_down(
    course: Course, outcome: Outcome, source: nn.Module, worth: Callable[[ChannelGraph], Tensor], spent: int
) -> Begun:
    """What a method left, or, where that is more than is asked for, what is left of `source` without the
    channels of all layers that it holds worth least.
    """
    example = course.lesson.about.example
    whole = cost(course.lesson.dense, example)
    left = cost(outcome.model, example) / whole
    network = outcome.model
    if left > course.lesson.macs:
        graph = prunus.trace(source.eval(), example)
        plan = prunus.plan(graph, worth(graph), macs=int(course.lesson.macs * whole), scope="global")
        network = prunus.compact(source, plan)
        course.task.recalibrate(network)
    return Begun(network, spent, left)


def _controls() -> dict[str, Way]:
    return {
        "the dense network": Way("control", plain(dense)),
        "l1 norm's shape from scratch": Way("control", plain(anew(pruned("l1 norm")))),
    }


PUBLISHED: Mapping[str, Any] = {"freeze": 0.0, "folded": False}
BASE = "norm-l1"  # what is tuned on chosen samples

WAYS: Mapping[str, Way] = {
    **_controls(),
    **{name: Way("score", scored(name), listed=name) for name in SCORES},
    "thinet, refitted": Way("score", scored("thinet", "refit")),
    "lasso, refitted": Way("score", scored("lasso", "refit")),
    "one-shot": Way("method", plain(by_default), listed="one-shot"),
    "greedy-norm": Way("method", greedy, listed="greedy-norm"),
    "fewer-blocks": Way("method", plain(blocks), listed="fewer-blocks"),
    "snip": Way("method", from_nothing, listed="snip"),
    "soft": Way("method", softly(), listed="soft"),
    "soft, as published": Way("method", softly(from_start=True, **PUBLISHED)),
    "soft, asymptotic (ASFP)": Way("method", softly(growth="asymptotic", **PUBLISHED)),
    "history": Way("method", by_history, listed="history"),
    "importance": Way("method", by_importance, listed="importance"),
    "slimming": Way("method", slimmed, listed="slimming"),
    "selective-decay": Way("method", decayed, listed="selective-decay"),
    "channels-and-layers": Way("method", of_both_kinds, listed="channels-and-layers"),
    "adversarial": Way("method", fooled, listed="adversarial"),
    "autoprune": Way("method", gated, listed="autoprune"),
    "play-and-prune": Way("method", played, listed="play-and-prune"),
    "thresholds": Way("method", thresholded, listed="thresholds"),
    "dynamic": Way("method", on_average, listed="dynamic"),
    **{
        f"{name} samples": Way("samples", scored(BASE), rule, {"lower-bound": "critical"}.get(name, ""))
        for name, rule in BY_SAMPLES.items()
    },
}
SELECTED = tuple(name for name in get_args(Select) if name != "all")
