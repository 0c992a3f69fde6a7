"""Pruning by trained importance weights under an error tolerance, not a rate.

Sawant et al. 2022 (Applied Sciences 12(21), 11184). A trial is

    weigh   put a weight on every channel (`prunus.scores.importance`), and train weights and filters together
    prune   the share `step` of the network with the smallest weights
    tune    fine-tune what is left
    judge   on held-out data: within the tolerance of the original, it is what the next trial begins with;
            otherwise back to the last one that was, and half the step

until the step is less than `least`. The loop's numbers are our choice; the paper's abstract says only that a
tolerance drives it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.confidence import CONFIDENCE, Evaluate, check_provable, judged, value_of
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods._data import held_out
from prunus.methods.common import Limit, Outcome, Target
from prunus.methods.removal import searched
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.planning.targets import plan as choose
from prunus.plans.plan import Plan, Trial
from prunus.scores.importance import Importance, ImportanceWeights, Start
from prunus.surgery import compact
from prunus.surgery.compose import compose, whole_channels
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig

Weighed = tuple[nn.Module, ChannelGraph, Tensor]  # a trained copy, its graph, and what its channels are worth
SHORT = TrainConfig(epochs=1, lr=0.02)  # how a trial trains, unless something else is said


@door(TargetError)
def importance_pruning(
    model: nn.Module,
    task: Task,
    *,
    tolerance: float = 1.0,
    step: float = 0.25,
    least_step: float | None = None,
    by: Literal["rate", "macs"] = "macs",
    scope: Literal["uniform", "global"] = "global",
    start: Start = "ones",
    importance: Importance = "weight",
    l1: float = 1e-4,
    round_to: int = 1,
    protect: tuple[str, ...] = (),
    confidence: float = CONFIDENCE,
    most: int = 100,
    config: TrainConfig | None = None,
    evaluate: Evaluate | None = None,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    watch: Watch = unwatched,
) -> Outcome:
    """Make a trained network of any kind as small as the tolerance lets; the model itself is not changed.

    Args:
        model: trained.
        task: what it is for; the tolerance is kept on its validation samples.
        tolerance: points that may be lost against the original.
        step: share of the MACs, or of the channels (`by`), that a trial removes at first.
        least_step: the smallest step that is tried; None = a tenth of `step`.
        by: what steps are shares of, "macs" or "rate".
        scope: "global" ranks the weights of the whole network, "uniform" those of each group.
        start: of the weights, see `prunus.scores.importance`.
        importance: what ranks a channel, its "weight" or the "weight times norm" of its filters.
        l1: strength of the penalty on the weights.
        round_to: widths become multiples of this.
        protect: glob patterns of layers that stay whole.
        confidence: with which the tolerance is kept, see `prunus.planning.tolerance`.
        most: trials, at most.
        config: how a trial trains, once with the weights and once without them; None = one epoch at a
            learning rate of 0.02.
        evaluate: in place of the task's metric: model -> points on held-out data, higher is better; such as
            `prunus.planning.tolerance.all_within`.
        on_trial: told about every trial.
        watch: told about progress.

    Returns:
        In `found`, "steps" are the shares that the trials removed of what there was.

    Raises:
        TargetError: numbers out of range, or no held-out samples.
        PrunusError: whatever tracing, planning, training and compaction raise.
    """
    least = step / 10 if least_step is None else least_step
    _check(tolerance, step, least)
    clock, config, example = Clock(watch), replace(config or SHORT, keep="last"), example_of(task, model)
    target = Target("tolerance", tolerance, scope, round_to, protect=protect, confidence=confidence)
    way, weighed = _Way(model, evaluate or held_out(task).points, target), None
    with clock.steps("searching"):
        while step >= least and len(way.trials) < most:
            if way.plan is not None and weighed is None and not trace(way.current, example).num_channels:
                break  # nothing is left that could go
            weighed = weighed or _weigh(way.current, example, task, config, start, importance, l1)
            step, chosen = _made(weighed, step, least, by, target)
            chosen = chosen and whole_channels(model, way.plan, chosen)
            if chosen is None or not chosen.removed:
                break
            watch("searching", len(way.trials) + 1, 0)
            small = compact(weighed[0], chosen)
            task.fit(small, config, validation=None)
            trial = way.judge(small, chosen, step)
            on_trial(trial)
            if trial.accepted:
                weighed = None
            else:
                step /= 2
    return searched(
        model,
        way.plan,
        way.current,
        target,
        task,
        clock,
        trials=way.trials,
        limit=way.limit,
        after="after the trials",
        trial_epochs=2 * config.epochs,
        found={"steps": tuple(way.steps)},
    )


def _check(tolerance: float, step: float, least: float) -> None:
    if tolerance < 0 or not 0 < least <= step < 1:
        raise TargetError(
            "A tolerance is 0 or more, and steps lie between 0 and 1, the least not above the first; not"
            f" {tolerance}, {least} and {step}."
        )


class _Way:
    """How far a search has come.

    Attributes:
        current, plan: what is left of the original, and what is gone.
        trials, steps: that were made, and the shares that they removed.
        limit: that they are held against.
    """

    def __init__(self, model: nn.Module, points: Evaluate, target: Target) -> None:
        self.model, self.points, self.target = model, points, target
        self.baseline = points(model)
        check_provable(self.baseline, target.points, target.confidence)
        whole = value_of(self.baseline)
        self.limit = Limit(whole, whole - target.points, target.confidence)
        self.current: nn.Module = model
        self.plan: Plan | None = None
        self.trials: list[Trial] = []
        self.steps: list[float] = []

    def judge(self, small: nn.Module, chosen: Plan, step: float) -> Trial:
        """Judge what is left after a step, and go on from there if that is within the tolerance."""
        value, lowest = judged(self.baseline, self.points(small), self.target.confidence)
        within = self.limit.baseline - lowest <= self.target.points
        trial = Trial(share_gone(self.plan, chosen), value, chosen.after.macs, within, lowest)
        self.trials.append(trial)
        self.steps.append(step)
        if within:
            self.plan = chosen if self.plan is None else compose(self.model, self.plan, chosen)
            self.current = small
        return trial


def _made(
    weighed: Weighed, step: float, least: float, by: Literal["rate", "macs"], target: Target
) -> tuple[float, Plan | None]:
    """The first step, half as large each time, that can be made, and its plan; None if none can."""
    _, graph, scores = weighed
    while step >= least:
        try:
            return step, choose(
                graph,
                scores,
                rate=step if by == "rate" else None,
                macs=1 - step if by == "macs" else None,
                scope=target.scope,
                round_to=target.round_to,
                protect=target.protect,
            )
        except TargetError:  # so little is left that this step cannot be made
            step /= 2
    return step, None


def share_gone(plan: Plan | None, chosen: Plan) -> float:
    """Share of the original's channels that are gone once a plan of what is left is carried out as well."""
    before = plan.removed if plan else 0
    return (before + chosen.removed) / (before + sum(group.size for group in chosen.groups))


def _weigh(
    model: nn.Module,
    example: Any,
    task: Task,
    config: TrainConfig,
    start: Start,
    importance: Importance,
    l1: float,
) -> Weighed:
    """A trained copy of the model, its graph, and the importance of its channels."""
    trained = copy.deepcopy(model)
    graph = trace(trained, example)
    weights = ImportanceWeights(trained, graph, start)
    task.fit(trained, config, besides=lambda: weights.penalty(l1), validation=None)
    scores = weights.importance(importance)
    weights.fold()
    return trained, graph, scores
