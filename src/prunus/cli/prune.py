"""`prunus prune`: the main job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, cast

import typer

from prunus.cli import options as given
from prunus.cli import recipe_options as keys
from prunus.cli.console import bars, show_json
from prunus.cli.summary import show_result
from prunus.cli.verbs import typed_command
from prunus.errors import ConfigError, TargetError
from prunus.runs.data import Wanted, inputs_of, read_data, traced
from prunus.runs.loading import natural_shape, open_model, parse_shape
from prunus.runs.names import (
    Compensation,
    Prefer,
    Runtime,
    Scope,
    Score,
    compensation_function,
    score_function,
)
from prunus.runs.tuning import tuning_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prunus.methods.common import Outcome, Target, TargetKind
    from prunus.runs.loading import Opened
    from prunus.tasks import Task

ONE_CURRENCY = (
    Score.RECONSTRUCTION,
    Score.TAYLOR,
    Score.CAR,
)  # scores that are errors or losses, and so can be compared between layers
HELD_OUT = (
    0.1  # share of the training samples by which batch-norm statistics are chosen, and a tolerance is kept
)
QUANTISE = "prunus.quantise"  # where the context keeps what `compress` does besides: a Quantisation


def prune(
    context: typer.Context,
    model: given.ModelName,
    output: given.Folder,
    rate: given.Rate = None,
    macs: given.Macs = None,
    params: given.Params = None,
    bytes_left: given.Bytes = None,
    tolerance: given.Tolerance = None,
    confidence: given.Confidence = 0.95,
    latency: given.Latency = None,
    runtime: given.RuntimeName = Runtime.ONNXRUNTIME,
    threads: given.Threads = 1,
    score: given.ScoreName = None,
    scope: given.ScopeName = None,
    round_to: given.RoundTo = "1",
    floor: given.Floor = 1,
    blocks: given.Blocks = 0,
    evenly: given.Evenly = False,
    protect: given.Protect = None,
    exact: given.Exact = False,
    compensate: given.CompensationName = None,
    prefer: given.PreferKind = Prefer.AUTO,
    weights: given.Weights = None,
    pretrained: given.Pretrained = False,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    data: given.DataName = "",
    data_dir: given.DataDir = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    workers: given.Workers = 0,
    ignore: given.Ignore = 255,
    window: given.Window = None,
    windows: given.Windows = None,
    mean: given.Mean = "",
    std: given.Std = "",
    epochs: given.Epochs = 0,
    trial_epochs: given.TrialEpochs = 0,
    teach: given.Teach = False,
    lr: given.LearningRate = 0.02,
    weight_decay: given.WeightDecay = 5e-4,
    optimizer: keys.Optimizer = None,
    momentum: keys.Momentum = None,
    schedule: keys.Schedule = None,
    milestones: keys.Milestones = None,
    warmup_steps: keys.WarmupSteps = None,
    precision: keys.Precision = None,
    channels_last: keys.ChannelsLast = None,
    augment: keys.Augment = None,
    shift: keys.Shift = None,
    first_size: keys.FirstSize = None,
    full_size_from: keys.FullSizeFrom = None,
    label_smoothing: keys.LabelSmoothing = None,
    clip: keys.Clip = None,
    ema: keys.Ema = None,
    keep: keys.Keep = None,
    compile: keys.Compile = None,
    seed: given.Seed = 0,
    onnx: given.WithOnnx = True,
    dynamic_batch: given.DynamicBatch = False,
    report: given.WithReport = True,
    as_json: given.AsJson = False,
) -> None:
    """Make a model smaller: plan, compact, verify, compensate, recalibrate, fine-tune, measure, report.

    For example: prunus prune resnet56 --weights resnet56.th --data cifar10 --macs 0.5 --epochs 2 -o out
    """
    from prunus.methods.common import Target
    from prunus.methods.one_shot import one_shot
    from prunus.runs.delivery import check, deliver
    from prunus.runs.quantisation import check_task
    from prunus.storage.lock import folder_lock

    figures = {
        "rate": rate,
        "macs": macs,
        "params": params,
        "bytes": bytes_left,
        "tolerance": tolerance,
        "latency": latency,
    }
    whole = blocks > 0 and not any(one is not None for one in figures.values())  # channels stay
    kind, value = ("rate", 0.0) if whole else _one_target(figures)
    chosen = score or (Score.RECONSTRUCTION if data and not whole else Score.NORM_L2)
    scope = scope or (Scope.GLOBAL if kind == "latency" and chosen in ONE_CURRENCY else Scope.UNIFORM)
    rounding = 1 if whole else _rounding(round_to)
    names = tuple(protect or ())
    target = Target(
        kind,
        value,
        scope.value,
        rounding,
        floor,
        names,
        exact,
        prefer.value,
        confidence,
        runtime.value,
        threads,
    )
    _check_data(target, data, epochs, blocks, teach)
    if evenly and not blocks:
        raise ConfigError("--evenly says how blocks are chosen: give --blocks.")
    check(output, with_onnx=onnx, with_report=report)
    quantise = context.meta.get(QUANTISE)
    with folder_lock(output), bars() as watch:
        _seed(seed)
        shape = parse_shape(input_shape)
        wanted = Wanted(
            data,
            data_dir,
            mean,
            std,
            HELD_OUT,
            seed,
            ignore=ignore,
            limit=limit,
            batch_size=batch_size,
            workers=workers,
            window=window,
            windows=windows,
        )
        source = read_data(wanted, _side(model, shape), watch) if data else None
        watch("building the model", 0, 0)
        build_model: Callable[..., Opened] = source.open if source else open_model
        opened = build_model(model, shape=shape, weights=weights, pretrained=pretrained, build_name=build)
        opened.check_output(output)
        task = source.task(opened.input_shape[-1]) if source else None
        network = traced(task, opened.model.eval())
        if quantise is not None and task is not None:
            check_task(task)
        if network is not opened.model:  # a traced module has no other forward
            target = replace(target, prefer="eager")
        example, _ = inputs_of(task, opened.inputs(seed), 1)
        outcome = one_shot(
            network,
            task,
            score=score_function(chosen, seed, task),
            target=target,
            compensate=compensation_function(compensate, seed, task),
            config=tuning_of(context.params, epochs, source),
            trial_config=tuning_of(context.params, trial_epochs, source),
            blocks=blocks,
            evenly=evenly,
            teach=teach,
            example_inputs=example,
            watch=watch,
        )
        _refuse_nothing(opened.name, target, outcome, blocks)
        result = deliver(
            output,
            network,
            outcome,
            example,
            command=typed_command(context),
            model=opened.record(output),
            score=chosen.value,
            seed=seed,
            task=task,
            notes=(*opened.notes(), *_none_kept(outcome, task)),
            panels=_panels(chosen, compensate, outcome, task, seed),
            with_onnx=onnx,
            dynamic_batch=dynamic_batch,
            with_report=report,
            quantise=quantise,
            watch=watch,
        )
    show_json(result) if as_json else show_result(result, output)


def _refuse_nothing(name: str, target: Target, outcome: Outcome, blocks: int) -> None:
    """Raises TargetError where nothing went although a target asked for it: a folder with the dense network
    would say something else.
    """
    from prunus.plans.pins import holding

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
    best = max(outcome.trials, key=lambda trial: trial.lowest)
    sure, held = (
        100 * outcome.limit.confidence,
        f"{task.count('validation'):,} held-out {task.kind('validation')}",
    )
    return (
        (
            f"Nothing was removed: of {len(outcome.trials)} trials none is within the tolerance with {sure:g}"
            f" % confidence. The best has {best.metric:.1f}, and {held} show no more than that it is above"
            f" {best.lowest:.1f}: hold out more, or allow more points."
        ),
    )


def _panels(
    score: Score, compensate: Compensation | None, outcome: Outcome, task: Task | None, seed: int
) -> dict[str, Any]:
    """What the report shows besides: the compensation, and dendrograms where channels were chosen by
    likeness.
    """
    usual = Compensation.REFIT if task and outcome.plan.removed else Compensation.NONE
    found: dict[str, Any] = {"compensation": (compensate or usual).value}
    if score in (Score.SIMILARITY, Score.SIMILARITY_INPUTS):
        from prunus.methods.named import similarity_named

        alike, removed = (
            similarity_named(score.value, outcome.graph, task, seed),
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


def _one_target(figures: Mapping[str, float | str | None]) -> tuple[TargetKind, float | str]:
    """The one target that was given."""
    chosen = [(kind, value) for kind, value in figures.items() if value is not None]
    if len(chosen) != 1:
        flags = ", ".join(f"--{kind}" for kind in figures)
        got = " and ".join(f"--{kind}" for kind, _ in chosen) or "none"
        raise typer.BadParameter(f"Give exactly one target of {flags}; given: {got}.")
    kind, value = chosen[0]
    return cast("TargetKind", kind), value


def _rounding(text: str) -> int | Literal["auto"]:
    """A number of channels, or "auto"."""
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise typer.BadParameter(f"--round-to is a number of channels or auto, not {text!r}.")
    return int(text)


def _check_data(target: Target, data: str, epochs: int, blocks: int, teach: bool) -> None:
    if target.kind == "latency":
        from prunus.planning.latency_target import wanted

        wanted(target.value)
    if target.kind == "tolerance" and not data:
        raise TargetError("--tolerance is kept on held-out samples: give --data.")
    if epochs and not data:
        raise ConfigError("--epochs fine-tunes on training samples: give --data.")
    if blocks and not data:
        raise ConfigError(
            "--blocks leaves out those without which the loss on held-out samples rises least: give --data."
        )
    if teach and not epochs:
        raise ConfigError("--teach is for fine-tuning: give --epochs.")


def _seed(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def _side(model: str, shape: tuple[int, ...] | None) -> int | None:
    """The size that the model wants of the images of a folder."""
    wanted = shape or (natural_shape(model.partition("@")[0]) if "/" in model else None)
    return wanted[-1] if wanted else None
