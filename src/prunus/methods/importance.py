"""Pruning by trained importance weights under an error tolerance, not a rate.

Sawant et al. 2022 (Applied Sciences 12(21), 11184). A trial is

    weigh   put a weight on every channel (`prunus.scores.importance`), and train weights and filters together
    prune   the share `step` of the network with the smallest weights
    tune    fine-tune what is left
    judge   on held-out data: within the tolerance of the original, it is what the next trial begins with;
            otherwise back to the last one that was, and half the step

until the step is less than `least`. The loop's numbers are our choice; the paper's abstract says only that a tolerance drives it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._arguments import door
from prunus.channels import Plan, Trial, compact, trace, verify
from prunus.channels.compose import compose
from prunus.channels.plan import make_plan
from prunus.errors import TargetError
from prunus.methods.one_shot import Limit, Outcome, Step, Target
from prunus.scores.importance import Importance, ImportanceWeights, Start
from prunus.targets import Scope
from prunus.targets import plan as choose
from prunus.tasks import Task
from prunus.tolerance import CONFIDENCE, Evaluate, check_provable, judged, value_of
from prunus.training import TrainConfig, evaluate, train
from prunus.training.evaluation import sample_by_sample
from prunus.watching import Clock, Watch, unwatched

Penalty = Callable[[], Tensor]
Fit = Callable[[nn.Module, Penalty | None], None]
"""Trains a model in place for as long as a trial may take; the penalty, if there is one, is added to its loss at every step."""


@dataclass(frozen=True)
class Weighed:
    """One trial.

    Attributes:
        step: share that was removed of what there was.
        macs: left.
        value: the metric on held-out data.
        lowest: what it is not below, with the confidence that was asked for.
        accepted: whether that is within the tolerance.
    """

    step: float
    macs: int
    value: float
    lowest: float
    accepted: bool


@dataclass(frozen=True, eq=False)
class Reduced:
    """What is left.

    Attributes:
        model: the compact model of the last accepted trial; the original if there was none.
        plan: what went, as a plan of the original; None if nothing did.
        baseline: the metric of the original.
        trials: all of them, in order.
    """

    model: nn.Module
    plan: Plan | None
    baseline: float
    trials: tuple[Weighed, ...]


@door(TargetError)
def importance_pruning(
    model: nn.Module,
    example_inputs: Any,
    fit: Fit,
    evaluate: Evaluate,
    tolerance: float,
    *,
    step: float = 0.05,
    least: float = 0.01,
    by: Literal["rate", "macs"] = "rate",
    scope: Scope = "global",
    start: Start = "ones",
    importance: Importance = "weight",
    l1: float = 1e-4,
    round_to: int = 1,
    protect: tuple[str, ...] = (),
    confidence: float = CONFIDENCE,
    most: int = 100,
    on_trial: Callable[[Weighed], None] = lambda trial: None,
) -> Reduced:
    """Make a trained network of any kind as small as the tolerance lets; the model itself is not changed.

    Args:
        model: trained, with what it is for: classification, segmentation, anything.
        example_inputs: what it is called with, for its channels and MACs.
        fit: trains a model in place, with a penalty (weights and filters together) or without (fine-tuning).
        evaluate: model -> metric in points, higher is better, on held-out data: a number, or one per sample (see `prunus.tolerance`).
        tolerance: points that may be lost against the original.
        step: share of the channels ("rate") or of the MACs ("macs", see `by`) that a trial removes at first.
        least: the smallest step that is tried.
        scope: "global" ranks the weights of the whole network, "uniform" those of each group.
        start, importance: of the weights, see `prunus.scores.importance`.
        l1: strength of the penalty on the weights.
        round_to, protect: as for `prunus.plan`.
        confidence: with which the tolerance is kept, see `prunus.tolerance`.
        most: trials, at most.
        on_trial: told about every trial.

    Raises:
        TargetError: numbers out of range.
        PrunusError: whatever tracing, planning and compaction raise.
    """
    if tolerance < 0 or not 0 < least <= step < 1:
        raise TargetError(
            f"A tolerance is 0 or more, and steps lie between 0 and 1, the least not above the first; not {tolerance}, {least} and {step}."
        )
    baseline = evaluate(model)
    check_provable(baseline, tolerance, confidence)
    current, plan = model, None
    trials: list[Weighed] = []
    weighed: tuple[nn.Module, Any, Tensor] | None = None
    while step >= least and len(trials) < most:
        if weighed is None:
            weighed = _weigh(current, example_inputs, fit, start, importance, l1)
        trained, graph, scores = weighed
        try:
            chosen = choose(
                graph, scores, rate=step if by == "rate" else None, macs=1 - step if by == "macs" else None, scope=scope, round_to=round_to,
                protect=protect
            )  # fmt: skip
        except TargetError:  # so little is left that this step cannot be made
            step /= 2
            continue
        if not chosen.removed:
            break
        small = compact(trained, chosen)
        fit(small, None)
        value, lowest = judged(baseline, evaluate(small), confidence)
        trials.append(Weighed(step, chosen.after.macs, value, lowest, value_of(baseline) - lowest <= tolerance))
        on_trial(trials[-1])
        if trials[-1].accepted:
            plan = chosen if plan is None else compose(model, plan, chosen)
            current, weighed = small, None
        else:
            step /= 2
    return Reduced(current, plan, value_of(baseline), tuple(trials))


def _weigh(model: nn.Module, example_inputs: Any, fit: Fit, start: Start, importance: Importance, l1: float) -> tuple[nn.Module, Any, Tensor]:
    """A trained copy of the model, its graph, and the importance of its channels."""
    trained = copy.deepcopy(model)
    graph = trace(trained, example_inputs)
    weights = ImportanceWeights(trained, graph, start)
    fit(trained, lambda: weights.penalty(l1))
    scores = weights.importance(importance)
    weights.fold()
    return trained, graph, scores


@door(TargetError)
def classifier_within(
    model: nn.Module,
    example_inputs: Tensor,
    task: Task,
    tolerance: float,
    tuning: TrainConfig,
    *,
    step: float = 0.25,
    l1: float = 1e-4,
    protect: tuple[str, ...] = (),
    confidence: float = CONFIDENCE,
    verify_on: Tensor | None = None,
    watch: Watch = unwatched,
) -> Outcome:
    """A trained classifier as small as its validation samples let, with all that a report shows; channels of the whole network are ranked together.

    Args:
        model: images (batch, C, H, W) to logits (batch, classes); it is not changed, but put into eval mode.
        example_inputs: images of the shape for which MACs are counted.
        task: samples; the tolerance is kept on the validation samples, the test samples are only measured.
        tolerance: points of accuracy that may be lost.
        tuning: how a trial is trained, once with the weights and once without them.
        step: share of the MACs that a trial removes at first; a tenth of it is the least.
        l1, protect, confidence: as for `importance_pruning`.
        verify_on: inputs on which compact and masked model are compared; None = random ones.
        watch: told about progress.

    Raises:
        TargetError: no validation samples, or numbers out of range.
        PrunusError: whatever training and compaction raise.
    """
    if task.validation is None:
        raise TargetError("A tolerance is kept on held-out samples, so it needs some.")
    validation, clock, counted = task.samples("validation"), Clock(watch), itertools.count(1)
    plain = replace(tuning, label_smoothing=0.0, keep="last")

    def fit(network: nn.Module, penalty: Penalty | None) -> None:
        def loss(outputs: Tensor, labels: Tensor) -> Tensor:
            entropy = F.cross_entropy(outputs, labels, label_smoothing=tuning.label_smoothing)
            return entropy if penalty is None else entropy + penalty()

        train(network, task.samples("train"), plain, normalise=task.normalisation, loss=loss)

    def points(network: nn.Module) -> Tensor:
        return 100.0 * sample_by_sample(network, validation, task.normalisation)[0].double().cpu()

    model.eval()
    graph = trace(model, example_inputs)
    found = clock.time(
        "searching",
        lambda: importance_pruning(
            model, example_inputs, fit, points, tolerance, step=step, least=step / 10, by="macs", l1=l1, protect=protect, confidence=confidence,
            on_trial=lambda trial: watch("searching", next(counted), 0),
        ),
    )  # fmt: skip
    plan = found.plan or make_plan(graph, np.zeros(graph.num_channels, dtype=bool))
    verification = clock.time("verifying", lambda: verify(model, plan, compact(model, plan, check=False), inputs=verify_on))
    steps = []
    for name, network in (("before", model), ("after the trials", found.model.eval())):
        measured = evaluate(network, task.samples("test"), task.normalisation)
        steps.append(Step(name, measured.accuracy, measured.loss))
    trials = tuple(Trial(1 - trial.macs / plan.before.macs, trial.value, trial.macs, trial.accepted, trial.lowest) for trial in found.trials)
    return Outcome(
        graph, plan, found.model, verification, Target("tolerance", tolerance, "global", protect=protect, confidence=confidence), tuple(steps),
        Limit(found.baseline, found.baseline - tolerance, confidence), trials, 2 * tuning.epochs, seconds=clock.seconds,
    )  # fmt: skip
