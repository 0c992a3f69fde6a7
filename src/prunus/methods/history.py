"""History-based filter pruning: pull redundant filters together, remove one of each pair, train on; again and
again, under a tolerance.

Basha et al. 2024, "Deep Model Compression based on the Training History" (HBFP, arXiv 2102.00160). A round is

    pairs   the filters with the nearest histories (`prunus.scores.history`)
    pull    fine-tune with cross-entropy + strength * exp(R), which makes the two of a pair more alike
    prune   of every pair the filter with the smaller norms
    retrain and write down a fresh history

until the validation accuracy is more than the tolerance below the best so far. The pairs' regulariser R, and
choosing by held-out samples, where the authors' code looks at the test set, are our choices.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.confidence import value_of
from prunus._foundation.made import begins
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import ConfigError, TargetError
from prunus.methods._data import callback, held_out
from prunus.methods.common import FIRST, Journal, Limit, Outcome, Target
from prunus.methods.importance import share_gone
from prunus.methods.removal import searched
from prunus.models import load_weights
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.planning.space import matching
from prunus.plans.plan import Plan, Trial, make_plan
from prunus.scores.history import NormHistory, Pair, closest_pairs, from_checkpoints, pair_distance
from prunus.surgery import compact
from prunus.surgery.compose import compose, whole_channels
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import History, TrainConfig

Regulariser = Literal["exp", "linear", "none"]
MEASURED = 0.5  # the confidence of a tolerance that is kept by the metric as it was measured, as in the paper
WEIGHTS = (".safetensors", ".pt", ".pth", ".th")


@dataclass(frozen=True)
class Round:
    """One round, as it is asked for.

    Attributes:
        remove: fraction of the channels of every group that go (the whole part, as in the paper), or, if 1 or
            more, their number.
        pull: how to fine-tune with the regulariser.
        retrain: how to train on afterwards.
        rates: glob pattern of layers -> `remove` for them.
    """

    remove: float
    pull: TrainConfig
    retrain: TrainConfig
    rates: Mapping[str, float] | None = None


@door(TargetError)
@begins
def history_pruning(
    model: nn.Module,
    task: Task,
    *,
    tolerance: float = 1.0,
    rate: float = 0.3,
    rounds: int | Sequence[Round] = 3,
    pull_epochs: int = 5,
    pull_strength: float = 1.0,
    regulariser: Regulariser = "exp",
    protect: tuple[str, ...] = (),
    history: Path | str | Tensor | None = None,
    config: TrainConfig | None = None,
    tuning: TrainConfig | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Train a copy of a network and make it smaller in rounds; the tolerance is kept by the metric as it is
    measured on held-out samples.

    Args:
        model: trained or not.
        task: what it is for, with some samples held out, by which the tolerance is kept.
        tolerance: points below the best so far that a round may cost on held-out samples; the first that
            costs more is undone, and the last.
        rate: fraction of the channels of every group that a round removes.
        rounds: how many at most; or each of them, in Python: `Round`, in place of `rate`, `pull_epochs` and
            `tuning`.
        pull_epochs: epochs that pull pairs together.
        pull_strength: weight of the regulariser in the loss (lambda).
        regulariser: "exp", as in the paper; "linear", R itself; "none" fine-tunes only, which is what the
            released code comes to.
        protect: glob patterns of layers that stay whole.
        history: of a training that the model has had, in place of a first one: a folder of weight files, one
            per epoch, in the order of their names, of which the model gets the last; or norms, shape (epochs,
            channels), see `prunus.scores.history.from_checkpoints`.
        config: the first training, of which the first history is kept. None = its defaults.
        tuning: how a round trains on once its channels are gone, and pulls. None = as `config`.
        journal: how all trainings are kept and told about.
        watch: told about progress.

    Returns:
        `training` is the first one, `tuning` that of the last accepted round. In `found`, by round:
        "channels" left of every group, "distances" R of the pairs before and after the pull, "norms", the
        history (epochs, channels) of every group, and its "pairs", as places in it.

    Raises:
        TargetError: no held-out samples, or numbers out of range.
        PlanError: a history of another network.
        PrunusError: whatever training and compaction raise.
    """
    config = config or TrainConfig()
    asked = _rounds(rounds, rate, pull_epochs, tuning or config)
    if not tolerance >= 0 or not all(round_.remove >= 0 for round_ in asked):
        raise TargetError("A tolerance and what a round removes are 0 or more.")
    held_out(task)
    clock, game, dense = Clock(watch), _Game(task, journal, watch), copy.deepcopy(model)
    with clock.steps("training and rounds"):
        norms, trained = _begun(game, dense, task, history, config)
        baseline = best = value_of(game.value(dense))
        current, plan, retrained, trials = dense, None, None, list[Trial]()
        for number, round_ in enumerate(asked, 1):
            graph = trace(current, example_of(task, current))
            pairs = closest_pairs(graph, norms, channels_going(graph, round_, protect))
            chosen = whole_channels(dense, plan, _without(graph, pairs))
            named = _named(graph, norms, pairs)
            small = compact(
                game.pulled(current, graph, pairs, round_, number, pull_strength, regulariser), chosen
            )
            norms, done = game.fit(small, round_.retrain, f"round {number}, retraining")
            reached = game.value(small)
            accepted = best - reached <= tolerance
            game.note({group.name: group.size - len(group.removed) for group in chosen.groups}, *named)
            trials.append(Trial(share_gone(plan, chosen), reached, chosen.after.macs, accepted, reached))
            if not accepted:
                break
            plan = chosen if plan is None else compose(dense, plan, chosen)
            current, retrained, best = small, done, max(best, reached)
    target = Target("tolerance", tolerance, protect=protect, confidence=MEASURED)
    return searched(
        dense.eval(),
        plan,
        current,
        target,
        task,
        clock,
        trials=trials,
        limit=Limit(baseline, best - tolerance, MEASURED),
        after="after pruning",
        trial_epochs=retrained.config.epochs if retrained else 0,
        training=trained,
        tuning=retrained,
        found=game.found(),
    )


def _begun(
    game: _Game, dense: nn.Module, task: Task, history: Path | str | Tensor | None, config: TrainConfig
) -> tuple[Tensor, History | None]:
    """The history of the first training, which is made if there is none."""
    if history is None:
        return game.fit(dense, config, FIRST)
    if isinstance(history, Tensor):
        return history, None
    return _earlier(dense, example_of(task, dense), Path(history)), None


def _rounds(
    rounds: int | Sequence[Round], rate: float, pull_epochs: int, tuning: TrainConfig
) -> Sequence[Round]:
    if not isinstance(rounds, int):
        return rounds
    return [Round(rate, replace(tuning, epochs=pull_epochs), tuning)] * rounds


class _Game:
    """What the rounds of one run share: how they train and measure, and what they write down."""

    def __init__(self, task: Task, journal: Journal, watch: Watch) -> None:
        self._task, self._journal, self._watch = task, journal, watch
        self._distances: list[tuple[float, float]] = []
        self._channels: list[dict[str, int]] = []
        self._norms: list[dict[str, Tensor]] = []
        self._pairs: list[dict[str, tuple[Pair, ...]]] = []

    def fit(
        self, network: nn.Module, config: TrainConfig, step: str, besides: Callable[[], Tensor] | None = None
    ) -> tuple[Tensor, History]:
        """Train; also the norms of its epochs, (epochs, channels)."""
        norms = NormHistory(example_of(self._task, network))
        options: dict[str, Any] = {
            "pruning": callback(norms, network),
            **self._journal.options(step, self._watch),
        }
        done = self._task.fit(network, config, besides=besides, **options)
        return torch.stack(norms.norms), done

    def value(self, network: nn.Module) -> float:
        """The metric on held-out samples."""
        return self._task.value(network, "validation")

    def pulled(
        self,
        current: nn.Module,
        graph: ChannelGraph,
        pairs: Mapping[int, list[Pair]],
        round_: Round,
        number: int,
        strength: float,
        regulariser: Regulariser,
    ) -> nn.Module:
        """A copy whose pairs were pulled together."""
        pulled = copy.deepcopy(current)
        before = float(pair_distance(pulled, graph, pairs).detach())

        def pull() -> Tensor:
            distance = pair_distance(pulled, graph, pairs)
            return strength * (distance.exp() if regulariser == "exp" else distance)

        self.fit(pulled, round_.pull, f"round {number}, pulling", None if regulariser == "none" else pull)
        self._distances.append((before, float(pair_distance(pulled, graph, pairs).detach())))
        return pulled

    def note(
        self, channels: dict[str, int], norms: dict[str, Tensor], pairs: dict[str, tuple[Pair, ...]]
    ) -> None:
        """What a round came to."""
        self._channels.append(channels)
        self._norms.append(norms)
        self._pairs.append(pairs)

    def found(self) -> dict[str, Any]:
        """All of it."""
        return {
            "channels": tuple(self._channels),
            "distances": tuple(self._distances),
            "norms": tuple(self._norms),
            "pairs": tuple(self._pairs),
        }


def _earlier(model: nn.Module, example: Any, folder: Path) -> Tensor:
    """The history in a folder of weight files, one per epoch, in the order of their names; the model gets the
    last weights.
    """
    found = folder.iterdir() if folder.is_dir() else []
    files = sorted((path for path in found if path.suffix in WEIGHTS), key=_numbered)
    if not files:
        raise ConfigError(
            f"history = {str(folder)!r} must be a folder with weight files ({', '.join(WEIGHTS)}), one per"
            " epoch."
        )
    load_weights(model, files[-1])
    return from_checkpoints(trace(model, example), files)


def _numbered(path: Path) -> list[tuple[int, str]]:
    """By the numbers in a name, so that epoch 10 comes after epoch 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _named(
    graph: ChannelGraph, norms: Tensor, pairs: Mapping[int, list[Pair]]
) -> tuple[dict[str, Tensor], dict[str, tuple[Pair, ...]]]:
    """The history and the pairs by the names of the groups, whose channels are counted from 0."""
    histories, places = {}, {}
    for group in graph.groups:
        place = {int(channel): place for place, channel in enumerate(group.channels)}
        histories[group.name] = norms[:, torch.from_numpy(group.channels)]
        places[group.name] = tuple(
            Pair(place[pair.goes], place[pair.stays]) for pair in pairs.get(group.index, ())
        )
    return histories, places


@door()
def channels_going(graph: ChannelGraph, round_: Round, protect: Sequence[str] = ()) -> dict[int, int]:
    """How many channels of every group go in a round, by the index of the group; of every group at least one
    stays.
    """
    wanted = {group.index: round_.remove for group in graph.groups}
    for pattern, rate in (round_.rates or {}).items():
        wanted |= {group.index: rate for group in matching(graph, pattern)}
    for pattern in protect:
        wanted |= {group.index: 0 for group in matching(graph, pattern)}
    sizes = {group.index: group.size for group in graph.groups}
    return {
        index: min(int(rate if rate >= 1 else rate * sizes[index] + 1e-9), sizes[index] - 1)
        for index, rate in wanted.items()
    }


def _without(graph: ChannelGraph, pairs: Mapping[int, list[Pair]]) -> Plan:
    """The plan that removes one of each pair."""
    removed = np.zeros(graph.num_channels, dtype=bool)
    removed[[pair.goes for chosen in pairs.values() for pair in chosen]] = True
    return make_plan(graph, removed)
