"""`prunus prune`: the main job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

import typer

from prunus.cli import options as given
from prunus.cli import recipe_options as keys
from prunus.cli.console import bars, show_json
from prunus.cli.summary import show_result
from prunus.cli.verbs import typed_command
from prunus.runs.names import Prefer, Runtime
from prunus.runs.texts import parse_shape
from prunus.training.config import TrainConfig

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
    rewind: keys.Rewind = None,
    precision: keys.Precision = None,
    channels_last: keys.ChannelsLast = None,
    augment: keys.Augment = None,
    flips: keys.Flips = None,
    shift: keys.Shift = None,
    first_size: keys.FirstSize = None,
    full_size_from: keys.FullSizeFrom = None,
    label_smoothing: keys.LabelSmoothing = None,
    clip: keys.Clip = None,
    ema: keys.Ema = None,
    average: keys.Average = None,
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
    figures: dict[str, Any] = {
        "rate": rate,
        "macs": macs,
        "params": params,
        "bytes": bytes_left,
        "tolerance": tolerance,
        "latency": latency,
    }
    if blocks <= 0 or any(one is not None for one in figures.values()):  # with blocks alone, channels stay
        _check_one(figures)
    rounding = _rounding(round_to)

    from prunus.runs.data import Data
    from prunus.runs.pruning import PruneSettings
    from prunus.runs.pruning import prune as run
    from prunus.runs.settings import Delivery, Network

    settings = PruneSettings(
        **figures,
        **{name: context.params[name] for name in _SAME},
        round_to=rounding,
        protect=tuple(protect or ()),
        tuning=_tuning(context.params),
        augment=augment or "auto",  # type: ignore[arg-type]  # what it may be is checked there
    )
    source = Data(
        data,
        data_dir,
        mean,
        std,
        seed=seed,
        ignore=ignore,
        limit=limit,
        batch_size=batch_size,
        workers=workers,
        window=window,
        windows=windows,
    )
    with bars() as watch:
        result = run(
            Network(model, weights, pretrained, parse_shape(input_shape), build),
            output,
            settings,
            source if data else None,
            delivery=Delivery(onnx, dynamic_batch, report, context.meta.get(QUANTISE)),
            command=typed_command(context),
            watch=watch,
        )
    show_json(result) if as_json else show_result(result, output)


_SAME = (  # settings whose flags have their names
    "confidence",
    "runtime",
    "threads",
    "score",
    "scope",
    "floor",
    "blocks",
    "evenly",
    "exact",
    "compensate",
    "prefer",
    "epochs",
    "trial_epochs",
    "teach",
    "seed",
)
_BESIDE = ("epochs", "augment", "seed")  # of tuning, which depend on more than their flags


def _tuning(params: Mapping[str, Any]) -> TrainConfig:
    """How to fine-tune, by the flags that were given."""
    names = {field.name for field in fields(TrainConfig)}.difference(_BESIDE)
    own = {name: value for name, value in params.items() if name in names and value not in (None, (), [])}
    if "milestones" in own:
        own["milestones"] = tuple(own["milestones"])
    return TrainConfig(**own)


def _check_one(figures: Mapping[str, float | str | None]) -> None:
    """Raises BadParameter unless exactly one target was given."""
    chosen = [kind for kind, value in figures.items() if value is not None]
    if len(chosen) != 1:
        flags = ", ".join(f"--{kind}" for kind in figures)
        got = " and ".join(f"--{kind}" for kind in chosen) or "none"
        raise typer.BadParameter(f"Give exactly one target of {flags}; given: {got}.")


def _rounding(text: str) -> int | Literal["auto"]:
    """A number of channels, or "auto"."""
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise typer.BadParameter(f"--round-to is a number of channels or auto, not {text!r}.")
    return int(text)
