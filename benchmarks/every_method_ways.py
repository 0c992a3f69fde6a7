"""The ways of `benchmarks.every_method`: what every score, method and rule of selection by name makes of one
trained network, and how many of the epochs that makes use of.

A method that finds its own size by a strength is run at one that is meant to leave about as much as is asked
for (those of thresholds and AutoPrune were tried on held-out samples, for 40 steps; the others follow from
how far numbers walk in so many steps); where it leaves more, the channels that it holds worth least go too,
and where it leaves less, that stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

import prunus
from benchmarks.every_method_course import Begin, Begun, Course, Way
from benchmarks.every_method_rules import BY_SAMPLES
from benchmarks.tuned_networks import Lesson, anew, blocks, by_default, cost, dense, pruned
from prunus import models, scores
from prunus.methods.adversarial import PAPER, adversarial_pruning
from prunus.methods.at_initialisation import snip_pruning
from prunus.methods.autoprune import autoprune
from prunus.methods.channels_and_layers import channels_and_layers
from prunus.methods.common import Outcome
from prunus.methods.greedy import greedy_pruning
from prunus.methods.history import Round, history_pruning
from prunus.methods.importance import importance_pruning
from prunus.methods.named import JUDGED, SCORES
from prunus.methods.play_and_prune import play_and_prune, relative_norms
from prunus.methods.selective_decay import selective_decay
from prunus.methods.shrinking import shrink
from prunus.methods.slimming import slimming
from prunus.methods.soft import soft_pruning
from prunus.methods.thresholds import threshold_pruning
from prunus.methods.train_gated import train_gated
from prunus.paint.graph import ChannelGraph
from prunus.planning.targets import Scope
from prunus.runs.recipe import Select

ANY = 99.0  # points: a tolerance that stops no round
CLASSES = 10


def scored(score: str, compensate: str = "none", scope: Scope = "uniform") -> Begin:
    """A score alone, by default the same share of every layer."""

    def begun(course: Course) -> Begun:
        lesson = course.lesson
        return Begun(
            shrink(
                lesson.dense,
                course.task,
                macs=lesson.macs,
                score=score,
                compensate=compensate,
                scope=scope,
                seed=lesson.seed,
            ).model
        )

    return begun


def judged_once(course: Course) -> Begun:
    """CAR measured once, not again after every removal, which would take some eleven thousand evaluations of
    a ResNet-20.
    """
    lesson = course.lesson
    graph = prunus.trace(lesson.dense, lesson.about.example)
    worth = scores.car(graph, course.task.few("train", JUDGED).value, greedy=False)
    plan = prunus.plan(graph, worth, macs=lesson.macs)
    small = prunus.compact(lesson.dense, plan)
    course.task.recalibrate(small)
    return Begun(small)


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


def on_average(**how: Any) -> Begin:
    """Gates that decide input by input, for all epochs."""

    def begun(course: Course) -> Begun:
        outcome = train_gated(
            course.lesson.dense,
            course.task,
            budget=course.lesson.macs,
            config=course.config(course.epochs),
            journal=course.journal,
            **how,
        )
        return Begun(outcome.model, course.epochs, float(outcome.found["expected"]))

    return begun


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
    **{name: Way("score", scored(name), listed=name) for name in SCORES if name != "car"},
    "car, once": Way("score", judged_once, listed="car"),
    "similarity, merged": Way("score", scored("similarity", "merge")),
    "similarity, global": Way("score", scored("similarity", scope="global")),
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
    "dynamic": Way("method", on_average(), listed="dynamic"),
    "dynamic, settled": Way("method", on_average(settle=True)),
    "dynamic, winners (FBS)": Way("method", on_average(gates="winners")),
    **{
        f"{name} samples": Way("samples", scored(BASE), rule, {"lower-bound": "critical"}.get(name, ""))
        for name, rule in BY_SAMPLES.items()
    },
}
SELECTED = tuple(name for name in get_args(Select) if name != "all")
