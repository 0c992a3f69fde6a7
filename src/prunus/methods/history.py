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
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.channels import ChannelGraph, Plan, compact, trace
from prunus.channels.compose import compose
from prunus.channels.plan import make_plan
from prunus.errors import TargetError
from prunus.methods.one_shot import Material, Watch, unwatched
from prunus.scores.history import NormHistory, Pair, closest_pairs, pair_distance
from prunus.targets import matching
from prunus.training import TrainConfig, evaluate, train

Regulariser = Literal["exp", "linear", "none"]


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
    """

    channels: Mapping[str, int]
    macs: int
    accuracy: float
    distance: tuple[float, float]
    accepted: bool


@dataclass(frozen=True, eq=False)
class Compressed:
    """What is left.

    Attributes:
        model: the compact model of the last accepted round, trained.
        plan: what went, as a plan of the original; None if no round was accepted.
        baseline: validation accuracy of the original after its training [percent].
        rounds: all that were tried.
        histories: the norms that each round's pairs were made from, each (epochs, channels).
    """

    model: nn.Module
    plan: Plan | None
    baseline: float
    rounds: tuple[Tried, ...]
    histories: tuple[Tensor, ...]


def history_pruning(
    model: nn.Module,
    example_inputs: Tensor,
    material: Material,
    rounds: Sequence[Round],
    *,
    training: TrainConfig,
    tolerance: float,
    strength: float = 1.0,
    regulariser: Regulariser = "exp",
    protect: Sequence[str] = (),
    watch: Watch = unwatched,
) -> Compressed:
    """Train a classifier, in place, and make it smaller in rounds.

    Args:
        model: images (batch, C, H, W) to logits (batch, classes), trained or not.
        example_inputs: what it is called with, for its channels and MACs.
        material: samples, with some held out, by which the tolerance is kept.
        rounds: what to do in every round, at most.
        training: the first training, of which the first history is kept.
        tolerance: points of validation accuracy below the best so far that a round may cost.
        strength: of the regulariser (lambda).
        regulariser: "exp", as in the paper; "linear", R itself; "none" fine-tunes only, which is what the released code comes to.
        protect: glob patterns of layers that keep their width.
        watch: told about progress.

    Raises:
        TargetError: no held-out samples, or numbers out of range.
        PrunusError: whatever training and compaction raise.
    """
    validation = material.validation
    if validation is None:
        raise TargetError("A tolerance is kept on held-out samples, so it needs some.")
    if tolerance < 0 or any(round_.remove < 0 for round_ in rounds):
        raise TargetError("A tolerance and what a round removes are 0 or more.")

    def fit(network: nn.Module, config: TrainConfig, step: str, loss: Callable[[Any, Any], Tensor] | None = None) -> Tensor:
        """Train, and give the history of it, (epochs, channels)."""
        history = NormHistory(example_inputs)
        train(
            network, material.train, config, normalise=material.normalise, loss=loss, pruning=history,
            on_step=lambda done, total: watch(step, done, total),
        )  # fmt: skip
        return torch.stack(history.norms)

    def accuracy(network: nn.Module) -> float:
        return evaluate(network, validation, material.normalise).accuracy

    history = fit(model, training, "training")
    baseline = best = accuracy(model)
    current, plan, tried, histories = model, None, [], [history]
    for number, round_ in enumerate(rounds, 1):
        graph = trace(current, example_inputs)
        pairs = closest_pairs(graph, history, _numbers(graph, round_, protect))
        pulled = copy.deepcopy(current)
        before = float(pair_distance(pulled, graph, pairs).detach())
        fit(pulled, round_.pull, f"round {number}, pulling", _pulling(pulled, graph, pairs, strength, regulariser))
        after = float(pair_distance(pulled, graph, pairs).detach())
        chosen = _without(graph, pairs)
        small = compact(pulled, chosen)
        history = fit(small, round_.retrain, f"round {number}, retraining")
        reached = accuracy(small)
        accepted = best - reached <= tolerance
        widths = {group.name: group.size - len(group.removed) for group in chosen.groups}
        tried.append(Tried(widths, chosen.after.macs, reached, (before, after), accepted))
        if not accepted:
            break
        plan = chosen if plan is None else compose(model, plan, chosen)
        current, best = small, max(best, reached)
        histories.append(history)
    return Compressed(current, plan, baseline, tuple(tried), tuple(histories))


def _numbers(graph: ChannelGraph, round_: Round, protect: Sequence[str]) -> dict[int, int]:
    """How many channels of every group go; of every group at least one stays."""
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
    model: nn.Module, graph: ChannelGraph, pairs: Mapping[int, list[Pair]], strength: float, regulariser: Regulariser
) -> Callable[[Any, Any], Tensor]:
    """Cross-entropy and the regulariser."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        entropy = F.cross_entropy(outputs, targets)
        if regulariser == "none":
            return entropy
        distance = pair_distance(model, graph, pairs)
        return entropy + strength * (distance.exp() if regulariser == "exp" else distance)

    return loss
