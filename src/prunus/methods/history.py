"""History-based filter pruning: pull redundant filters together, remove one of each pair, train on; again and again, under a tolerance.

Basha et al. 2024, "Deep Model Compression based on the Training History" (HBFP, arXiv 2102.00160). A round is

    pairs   the filters with the nearest histories (`prunus.scores.history`)
    pull    fine-tune with cross-entropy + strength * exp(R), which makes the two of a pair more alike
    prune   of every pair the filter with the smaller norms
    retrain and write down a fresh history

until the validation accuracy is more than the tolerance below the best so far. The pairs' regulariser R, and choosing by held-out samples, where the
authors' code looks at the test set, are our choices.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._arguments import door
from prunus.channels import ChannelGraph, Origin, Plan, Trial, Verification, compact, trace, verify
from prunus.channels.compose import compose
from prunus.channels.plan import make_plan
from prunus.errors import TargetError
from prunus.methods.one_shot import Limit, Outcome, Step, Target
from prunus.scores.history import NormHistory, Pair, closest_pairs, pair_distance
from prunus.targets import matching
from prunus.tasks import Task
from prunus.training import EpochRecord, History, TrainConfig, evaluate, train
from prunus.watching import Clock, Watch, unwatched

Regulariser = Literal["exp", "linear", "none"]
FIRST = "training"


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        remove: fraction of the channels of every group that go (the whole part, as in the paper), or, if 1 or more, their number.
        pull: how to fine-tune with the regulariser.
        retrain: how to train on afterwards.
        rates: glob pattern of layers -> `remove` for them.
    """

    remove: float
    pull: TrainConfig
    retrain: TrainConfig
    rates: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Tried:
    """What a round came to.

    Attributes:
        channels: left per group, by its name.
        macs: left.
        accuracy: on the validation samples [percent].
        distance: R of the pairs, before and after the pull.
        accepted: whether the tolerance was kept.
        norms: what the pairs were made from: the history per group, (epochs, channels).
        pairs: per group, as places in it; nearest first.
        verification: of the compact network against the masked one, before it was trained on.
    """

    channels: Mapping[str, int]
    macs: int
    accuracy: float
    distance: tuple[float, float]
    accepted: bool
    norms: Mapping[str, Tensor]
    pairs: Mapping[str, Sequence[Pair]]
    verification: Verification


@dataclass(frozen=True, eq=False)
class Compressed:
    """What is left.

    Attributes:
        model: the compact model of the last accepted round, trained.
        plan: what went, as a plan of the original; None if no round was accepted.
        baseline: validation accuracy of the original after its training [percent].
        rounds: all that were tried.
        training: the first one; None where there was none.
        retraining: of the last accepted round.
    """

    model: nn.Module
    plan: Plan | None
    baseline: float
    rounds: tuple[Tried, ...]
    training: History | None = None
    retraining: History | None = None


@door()
def history_pruning(
    model: nn.Module,
    example_inputs: Tensor,
    task: Task,
    rounds: Sequence[Round],
    *,
    training: TrainConfig | Tensor,
    tolerance: float,
    strength: float = 1.0,
    regulariser: Regulariser = "exp",
    protect: Sequence[str] = (),
    checkpoint: Path | str | None = None,
    resume: bool = False,
    on_epoch: Callable[[str, EpochRecord], None] | None = None,
    watch: Watch = unwatched,
) -> Compressed:
    """Train a classifier, in place, and make it smaller in rounds.

    Args:
        model: images (batch, C, H, W) to logits (batch, classes), trained or not.
        example_inputs: what it is called with, for its channels and MACs.
        task: samples, with some held out, by which the tolerance is kept.
        rounds: what to do in every round, at most.
        training: the first training, of which the first history is kept. Or the history of the training that the model has had, shape
            (epochs, channels), see `prunus.scores.history.from_checkpoints`.
        tolerance: points of validation accuracy below the best so far that a round may cost.
        strength: of the regulariser (lambda).
        regulariser: "exp", as in the paper; "linear", R itself; "none" fine-tunes only, which is what the released code comes to.
        protect: glob patterns of layers that keep their width.
        checkpoint: a file that the first training writes after every epoch; those of the rounds write others beside it.
        resume: go on from these files where they are.
        on_epoch: called with the name of the training and the record of every finished epoch.
        watch: told about progress.

    Raises:
        TargetError: no held-out samples, or numbers out of range.
        PlanError: a history of another network.
        PrunusError: whatever training and compaction raise.
    """
    validation = task.held_out()
    if validation is None:
        raise TargetError("A tolerance is kept on held-out samples, so it needs some.")
    if tolerance < 0 or any(round_.remove < 0 for round_ in rounds):
        raise TargetError("A tolerance and what a round removes are 0 or more.")

    def fit(network: nn.Module, config: TrainConfig, step: str, loss: Callable[[Any, Any], Tensor] | None = None) -> tuple[Tensor, History]:
        """Train; also the norms of its epochs, (epochs, channels)."""
        norms = NormHistory(example_inputs)
        done = train(
            network, task.samples("train"), config, normalise=task.normalisation, validation=validation, loss=loss, pruning=norms,
            checkpoint=None if checkpoint is None else _file(Path(checkpoint), step), resume=resume,
            on_epoch=None if on_epoch is None else lambda record: on_epoch(step, record),
            on_step=lambda done, total: watch(step, done, total),
        )  # fmt: skip
        return torch.stack(norms.norms), done

    def accuracy(network: nn.Module) -> float:
        return evaluate(network, validation, task.normalisation).accuracy

    norms, trained = (training, None) if isinstance(training, Tensor) else fit(model, training, FIRST)
    baseline = best = accuracy(model)
    current, plan, retrained, tried = model, None, None, []
    for number, round_ in enumerate(rounds, 1):
        graph = trace(current, example_inputs)
        pairs = closest_pairs(graph, norms, channels_going(graph, round_, protect))
        pulled = copy.deepcopy(current)
        before = float(pair_distance(pulled, graph, pairs).detach())
        pulling = _pulling(pulled, graph, pairs, strength, regulariser, round_.pull.label_smoothing)
        fit(pulled, replace(round_.pull, label_smoothing=0.0), f"round {number}, pulling", pulling)
        after = float(pair_distance(pulled, graph, pairs).detach())
        chosen = _without(graph, pairs)
        small = compact(pulled, chosen)
        verification, named = cast(Origin, small.prunus).verification, _named(graph, norms, pairs)
        assert verification is not None
        norms, history = fit(small, round_.retrain, f"round {number}, retraining")
        reached = accuracy(small)
        accepted = best - reached <= tolerance
        channels = {group.name: group.size - len(group.removed) for group in chosen.groups}
        tried.append(Tried(channels, chosen.after.macs, reached, (before, after), accepted, *named, verification))
        if not accepted:
            break
        plan = chosen if plan is None else compose(model, plan, chosen)
        current, retrained, best = small, history, max(best, reached)
    return Compressed(current, plan, baseline, tuple(tried), trained, retrained)


def outcome(found: Compressed, model: nn.Module, example_inputs: Tensor, task: Task, target: Target, clock: Clock) -> Outcome:
    """What came of the rounds as every method says it, with accuracies on the test samples; the networks are put into eval mode.

    Args:
        found: of `history_pruning`.
        model: the original, after its training.
        example_inputs: as before.
        task: as before.
        target: the tolerance.
        clock: measures what is done here.
    """
    graph = clock.time("tracing", lambda: trace(model.eval(), example_inputs))
    accepted = [tried for tried in found.rounds if tried.accepted]
    plan = found.plan or make_plan(graph, np.zeros(graph.num_channels, dtype=bool))
    small = (found.model if accepted else compact(model, plan)).eval()
    worst = max((tried.verification for tried in accepted), key=lambda one: one.relative, default=None)
    steps = []
    for name, network in (("before", model), ("after pruning", small)):
        result = clock.time(f"evaluating {name}", partial(evaluate, network, task.samples("test"), task.normalisation))
        steps.append(Step(name, result.accuracy, result.loss))
    best = max([found.baseline, *(tried.accuracy for tried in accepted)])
    size = sum(group.size for group in graph.groups)
    trials = [Trial(1 - sum(one.channels.values()) / size, one.accuracy, one.macs, one.accepted, one.accuracy) for one in found.rounds]
    return Outcome(
        graph, plan, small, worst or verify(model, plan, small), target,
        steps=tuple(steps),
        limit=Limit(found.baseline, best - target.points, target.confidence),
        trials=tuple(trials),
        trial_epochs=found.retraining.config.epochs if found.retraining else 0,
        tuning=found.retraining,
        seconds=clock.seconds,
        notes=() if accepted else ("No round kept the tolerance, so nothing was removed.",),
    )  # fmt: skip


def _file(checkpoint: Path, step: str) -> Path:
    """The checkpoint of a step: the given file for the first training, and for the others one beside it, such as checkpoint-round-1-pulling."""
    return checkpoint if step == FIRST else checkpoint.with_stem(f"{checkpoint.stem}-{step.replace(',', '').replace(' ', '-')}")


def _named(graph: ChannelGraph, norms: Tensor, pairs: Mapping[int, list[Pair]]) -> tuple[dict[str, Tensor], dict[str, tuple[Pair, ...]]]:
    """The history and the pairs by the names of the groups, whose channels are counted from 0."""
    histories, places = {}, {}
    for group in graph.groups:
        place = {int(channel): place for place, channel in enumerate(group.channels)}
        histories[group.name] = norms[:, torch.from_numpy(group.channels)]
        places[group.name] = tuple(Pair(place[pair.goes], place[pair.stays]) for pair in pairs.get(group.index, ()))
    return histories, places


@door()
def channels_going(graph: ChannelGraph, round_: Round, protect: Sequence[str] = ()) -> dict[int, int]:
    """How many channels of every group go in a round, by the index of the group; of every group at least one stays."""
    wanted = {group.index: round_.remove for group in graph.groups}
    for pattern, rate in (round_.rates or {}).items():
        wanted |= {group.index: rate for group in matching(graph, pattern)}
    for pattern in protect:
        wanted |= {group.index: 0 for group in matching(graph, pattern)}
    sizes = {group.index: group.size for group in graph.groups}
    return {index: min(int(rate if rate >= 1 else rate * sizes[index] + 1e-9), sizes[index] - 1) for index, rate in wanted.items()}


def _without(graph: ChannelGraph, pairs: Mapping[int, list[Pair]]) -> Plan:
    """The plan that removes one of each pair."""
    removed = np.zeros(graph.num_channels, dtype=bool)
    removed[[pair.goes for chosen in pairs.values() for pair in chosen]] = True
    return make_plan(graph, removed)


def _pulling(
    model: nn.Module, graph: ChannelGraph, pairs: Mapping[int, list[Pair]], strength: float, regulariser: Regulariser, smoothing: float
) -> Callable[[Any, Any], Tensor]:
    """Cross-entropy and the regulariser."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        entropy = F.cross_entropy(outputs, targets, label_smoothing=smoothing)
        if regulariser == "none":
            return entropy
        distance = pair_distance(model, graph, pairs)
        return entropy + strength * (distance.exp() if regulariser == "exp" else distance)

    return loss
