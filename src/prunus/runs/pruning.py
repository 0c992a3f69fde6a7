"""A whole pruning, from a network's name to the folder that is left: plan, compact, verify, compensate,
recalibrate, fine-tune, measure, report.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from prunus._foundation import confidence as sure
from prunus._foundation.arguments import check_fields, door
from prunus._foundation.progress import Watch, unwatched
from prunus.errors import ConfigError, TargetError
from prunus.methods.common import Target, wish
from prunus.methods.named import similarity_named
from prunus.methods.one_shot import one_shot
from prunus.methods.shrinking import usual_scope
from prunus.planning.latency_target import wanted
from prunus.plans.pins import holding
from prunus.report.metric import metric_words
from prunus.runs.among import check_apart
from prunus.runs.data import Data, Source, data_of, inputs_of, open_network, read_data, side_of, traced
from prunus.runs.delivery import check, deliver
from prunus.runs.describe import Provenance
from prunus.runs.fitting import chosen_among_seen, fitted
from prunus.runs.limits import check_settings
from prunus.runs.names import (
    Compensation,
    Prefer,
    Runtime,
    Scope,
    Score,
    compensation_function,
    score_function,
    score_of,
)
from prunus.runs.quantisation import check as check_quantisable
from prunus.runs.settings import USUAL, Delivery, Network, make_choices, network_of
from prunus.runs.tuning import tuning_of
from prunus.storage.lock import folder_lock
from prunus.tasks.words import metric_text
from prunus.training.config import Augment, TrainConfig

if TYPE_CHECKING:
    from torch import nn

    from prunus.methods.common import Outcome
    from prunus.runs.loading import Opened
    from prunus.tasks import Task

KINDS = ("rate", "macs", "params", "bytes", "tolerance", "latency")
TUNING = TrainConfig(lr=0.02)  # by small steps


@dataclass(frozen=True)
class PruneSettings:
    """How small, which channels go, and what makes up for them. Exactly one target is given, but with
    `blocks`, where none need be.

    Attributes:
        rate: share of the channels that goes.
        macs, params, bytes: what may be left: a share of all up to 1, or a number above.
        tolerance: points of the metric that may be lost on held-out samples.
        latency: share of the time that one pass may take, or a text as "12ms".
        confidence: with which a tolerance is kept.
        runtime, threads: in which latency, and what `round_to` "auto" is, are measured.
        score: what makes a channel worth keeping, also by a name that another package adds; None =
            reconstruction, or norm-l2 without data.
        scope: how much goes of which layer: the same share of each, by comparing the scores of all, or by
            measured losses; None = by these for MACs, parameters, bytes and a latency, with data; by
            comparing for a latency by a score that is an error or a loss, without; else the same share.
        round_to: widths become multiples of this, or "auto", what this machine computes at once.
        floor: channels that every layer keeps at least.
        blocks: residual blocks to leave out first, by the loss on held-out samples.
        evenly: leave out as many blocks of every stage.
        protect: glob patterns of layers that keep their width.
        exact: remove only channels whose removal is exact.
        compensate: how the next layers make up for what goes; None = refit, if there are data.
        prefer: what may come back: "auto", or "eager", which rules a traced module out.
        epochs: of fine-tuning; 0 = none.
        trial_epochs: of tuning before a trial of a tolerance is judged.
        teach: let the original network teach what is left while it is fine-tuned.
        tuning: how; its epochs, augmentation and seed are those given here.
        augment: how images are varied in tuning; "auto" = as is usual for the data.
        seed: of everything random.

    Raises:
        ConfigError: a setting is of another kind, or out of range.
    """

    rate: float | None = None
    macs: float | None = None
    params: float | None = None
    bytes: float | None = None
    tolerance: float | None = None
    latency: float | str | None = None
    confidence: float = 0.95
    runtime: Runtime = Runtime.ONNXRUNTIME
    threads: int = 1

    score: Score | str | None = None
    scope: Scope | None = None
    round_to: int | Literal["auto"] = 1
    floor: int = 1
    blocks: int = 0
    evenly: bool = False
    protect: tuple[str, ...] = ()
    exact: bool = False
    compensate: Compensation | None = None
    prefer: Prefer = Prefer.AUTO

    epochs: int = 0
    trial_epochs: int = 0
    teach: bool = False
    tuning: TrainConfig = TUNING
    augment: Literal["auto"] | Augment = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        make_choices(
            self,
            {
                "runtime": Runtime,
                "scope": Scope,
                "compensate": Compensation,
                "prefer": Prefer,
            },
        )
        check_fields(self, ConfigError)
        if self.score is not None:
            object.__setattr__(self, "score", score_of(self.score))
        check_settings({field.name: getattr(self, field.name) for field in fields(self)}, {})

    @property
    def whole(self) -> bool:
        """Whether blocks go, and all channels of the others stay."""
        return self.blocks > 0 and all(getattr(self, kind) is None for kind in KINDS)


@door(ConfigError)
def prune(
    model: Network | str,
    folder: Path | str,
    settings: PruneSettings,
    data: Data | str | None = None,
    *,
    delivery: Delivery = USUAL,
    command: str = "",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Make a network smaller.

    Args:
        model: which.
        folder: where to; made if it is not there, and files of an earlier run are replaced.
        settings: how small, and how.
        data: by which channels are chosen, what is left is tuned, and the result is judged; None = none.
        delivery: what the folder gets besides.
        command: what the user typed, if it was a command.
        watch: told about progress.

    Returns:
        The result, as written to `result.json`.

    Raises:
        TargetError: the target cannot be reached, or needs data.
        ConfigError, ModelNameError, DataError, FileFormatError, MissingExtraError: what is named is not
            there, or does not fit together.
    """
    network, folder, data = network_of(model), Path(folder), data_of(data, settings.seed)
    score = settings.score or (Score.RECONSTRUCTION if data and not settings.whole else Score.NORM_L2)
    target = _target(settings, score, data is not None)
    _check(target, settings, data, delivery)
    check(folder, with_onnx=delivery.onnx, with_report=delivery.report)
    if data is not None:
        check_apart(folder, data)
    with folder_lock(folder):
        torch.manual_seed(settings.seed)
        source = read_data(data, side_of(network, network.input_shape), watch) if data else None
        watch("building the model", 0, 0)
        found = open_network(network, source)
        found.check_output(folder)
        seen = chosen_among_seen(source, found) if source else ()
        source, said = fitted(source, found) if source else (None, ())
        task = source.task(found.input_shape[-1]) if source else None
        if delivery.int8 is not None and task is not None:
            check_quantisable(task, found.model)
        outcome, core, example = _pruned(found, source, task, settings, score, target, watch)
        _refuse_nothing(found.name, target, outcome, settings.blocks)
        about = Provenance(
            found.record(folder),
            str(score),
            settings.seed,
            command,
            task,
            notes=(*found.notes(), *said, *seen, *_none_kept(outcome, task)),
            panels=_panels(score, settings, outcome, task),
        )
        return deliver(folder, core, outcome, example, about, delivery, watch)


def _pruned(
    found: Opened,
    source: Source | None,
    task: Task | None,
    settings: PruneSettings,
    score: Score | str,
    target: Target,
    watch: Watch,
) -> tuple[Outcome, nn.Module, Any]:
    """What came of it, what of the network was pruned, and one input of that."""
    network = traced(task, found.model.eval())
    if network is not found.model:  # a traced module has no other forward
        target = replace(target, prefer="eager")
    example, _ = inputs_of(task, found.inputs(settings.seed) if task else found.arguments(settings.seed), 1)
    config, trial_config = (
        tuning_of(settings.tuning, epochs, source, augment=settings.augment, seed=settings.seed)
        for epochs in (settings.epochs, settings.trial_epochs)
    )
    outcome = one_shot(
        network,
        task,
        score=score_function(score, settings.seed, task),
        target=target,
        compensate=compensation_function(settings.compensate, settings.seed, task),
        config=config,
        trial_config=trial_config,
        blocks=settings.blocks,
        evenly=settings.evenly,
        teach=settings.teach,
        example_inputs=example,
        seed=settings.seed,
        watch=watch,
    )
    return outcome, network, example


def _target(settings: PruneSettings, score: Score | str, with_data: bool) -> Target:
    """The one target that was given; none of the channels go where only blocks do."""
    kind, value = wish(
        {kind: getattr(settings, kind) for kind in KINDS}, ("rate", 0.0) if settings.whole else None
    )
    usual = Scope(usual_scope(kind, str(score), with_data))
    return Target(
        kind,
        value,
        (settings.scope or usual).value,
        1 if settings.whole else settings.round_to,
        settings.floor,
        settings.protect,
        settings.exact,
        settings.prefer.value,
        settings.confidence,
        settings.runtime.value,
        settings.threads,
    )


def _check(target: Target, settings: PruneSettings, data: Data | None, delivery: Delivery) -> None:
    """Raises ConfigError and TargetError for what does not fit together, before there is any work to lose."""
    if delivery.int8 is not None:
        if data is None:
            raise ConfigError(
                "--int8 sees the ranges of activations on training samples, and what 8 bits cost on held-out"
                " ones: give --data."
            )
        if not delivery.onnx:
            raise ConfigError("--int8 quantises the ONNX file, which --no-onnx leaves out.")
        sure.check(delivery.int8.tolerance, delivery.int8.confidence)
    if target.kind == "latency":
        wanted(target.value)
    if target.kind == "tolerance" and data is None:
        raise TargetError("--tolerance is kept on held-out samples: give --data.")
    if settings.epochs and data is None:
        raise ConfigError("--epochs fine-tunes on training samples: give --data.")
    if settings.blocks and data is None:
        raise ConfigError(
            "--blocks leaves out those without which the loss on held-out samples rises least: give --data."
        )
    if settings.teach and not settings.epochs:
        raise ConfigError("--teach is for fine-tuning: give --epochs.")
    if settings.evenly and not settings.blocks:
        raise ConfigError("--evenly says how blocks are chosen: give --blocks.")


def _refuse_nothing(name: str, target: Target, outcome: Outcome, blocks: int) -> None:
    """Raises TargetError where nothing went although a target asked for it: a folder with the dense network
    would say something else.
    """
    asked = target.kind in ("rate", "macs", "params", "bytes") and 0 < float(target.value) != (
        1.0 if target.kind != "rate" else 0.0
    )
    if asked and not outcome.plan.removed and not blocks:
        held = holding(outcome.graph)
        raise TargetError(
            f"Nothing of {name} can be removed at --{target.kind}"
            f" {target.value:g}{f'; what holds most: {held}' if held else ''}."
        )


def _none_kept(outcome: Outcome, task: Task | None) -> tuple[str, ...]:
    """Why nothing went although a tolerance would have let it."""
    if (
        outcome.limit is None
        or task is None
        or not outcome.trials
        or outcome.plan.removed
        or any(trial.accepted for trial in outcome.trials)
    ):
        return ()
    best, metric = max(outcome.trials, key=lambda trial: trial.lowest), metric_words(metric_text(task))
    sure, held = (
        100 * outcome.limit.confidence,
        f"{task.count('validation'):,} held-out {task.kind('validation')}",
    )
    return (
        (
            f"Nothing was removed: of {len(outcome.trials)} trials none is within the tolerance with {sure:g}"
            f" % confidence. The best has {metric.figure(best.metric)}, and {held} show no more than that it"
            f" is above {metric.figure(best.lowest)}: hold out more, or allow more points."
        ),
    )


def _panels(
    score: Score | str, settings: PruneSettings, outcome: Outcome, task: Task | None
) -> dict[str, Any]:
    """What the report shows besides: the compensation, and dendrograms where channels were chosen by
    likeness.
    """
    usual = Compensation.REFIT if task and outcome.plan.removed else Compensation.NONE
    found: dict[str, Any] = {"compensation": (settings.compensate or usual).value}
    if score in (Score.SIMILARITY, Score.SIMILARITY_INPUTS):
        alike, removed = (
            similarity_named(str(score), outcome.graph, task, settings.seed),
            outcome.plan.removed_in(outcome.graph),
        )
        found["similarity"] = {
            "groups": [
                {"name": group.name, "links": links.tolist(), "kept": (~removed[group.channels]).tolist()}
                for group, links in zip(outcome.graph.groups, alike.links)
                if len(links) and removed[group.channels].any()
            ]
        }
    return found
