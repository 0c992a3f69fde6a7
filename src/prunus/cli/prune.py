"""`prunus prune`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import typer

from prunus.cli import options as given
from prunus.cli.choices import Compensation, Prefer, Runtime, Scope, Score, compensation_function, score_function, similarity_of
from prunus.cli.console import Bars, bars, show_json
from prunus.cli.finish import show_result
from prunus.cli.opening import natural_shape, open_data, open_model, parse_shape, split_samples, usual_augmentation
from prunus.cli.pictures import open_for_pictures, picture_folder, read_pictures
from prunus.errors import ConfigError, TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from prunus.data import ImageData
    from prunus.methods.one_shot import Outcome, Target, TargetKind
    from prunus.tasks import Task
    from prunus.training import TrainConfig

VERIFIED_ON = 64  # samples on which compact and masked model are compared
ONE_CURRENCY = (Score.RECONSTRUCTION, Score.TAYLOR, Score.CAR)  # scores that are errors or losses, and so can be compared between layers
HELD_OUT = 0.1  # share of the training samples by which batch-norm statistics are chosen, and a tolerance is kept
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
    ignore: given.Ignore = 255,
    mean: given.Mean = "",
    std: given.Std = "",
    epochs: given.Epochs = 0,
    trial_epochs: given.TrialEpochs = 0,
    teach: given.Teach = False,
    lr: given.LearningRate = 0.02,
    weight_decay: given.WeightDecay = 5e-4,
    seed: given.Seed = 0,
    onnx: given.WithOnnx = True,
    dynamic_batch: given.DynamicBatch = False,
    report: given.WithReport = True,
    as_json: given.AsJson = False,
) -> None:
    """Make a model smaller: plan, compact, verify, compensate, recalibrate, fine-tune, measure, report.

    For example: prunus prune resnet56 --weights resnet56.th --data cifar10 --macs 0.5 --epochs 2 -o out
    """
    from prunus.cli.app import typed_command
    from prunus.methods.one_shot import Target, one_shot
    from prunus.report.delivery import check, deliver
    from prunus.storage.lock import folder_lock

    figures = {"rate": rate, "macs": macs, "params": params, "bytes": bytes_left, "tolerance": tolerance, "latency": latency}
    whole = blocks > 0 and not any(one is not None for one in figures.values())  # channels stay
    kind, value = ("rate", 0.0) if whole else _one_target(figures)
    chosen = score or (Score.RECONSTRUCTION if data and not whole else Score.NORM_L2)
    scope = scope or (Scope.GLOBAL if kind == "latency" and chosen in ONE_CURRENCY else Scope.UNIFORM)
    rounding = 1 if whole else _rounding(round_to)
    names = tuple(protect or ())
    target = Target(kind, value, scope.value, rounding, floor, names, exact, prefer.value, confidence, runtime.value, threads)
    _check_data(target, data, epochs, blocks, teach)
    if evenly and not blocks:
        raise ConfigError("--evenly says how blocks are chosen: give --blocks.")
    check(output, with_onnx=onnx, with_report=report)
    quantise = context.meta.get(QUANTISE)
    with folder_lock(output), bars() as watch:
        _seed(seed)
        shape = parse_shape(input_shape)
        pictures = picture_folder(data, data_dir) if data else None
        images = _load(data, data_dir, model, shape, watch) if pictures is None else None
        watch("building the model", 0, 0)
        if pictures is not None:
            read = read_pictures(pictures, mean, std, HELD_OUT, seed, ignore=ignore)
            opened = open_for_pictures(model, read, shape, weights=weights, pretrained=pretrained, build_name=build)
            task: Task | None = read.task(opened.input_shape[-1])
        else:
            opened = open_model(model, weights=weights, shape=shape, data=images, pretrained=pretrained, build_name=build)
            task = split_samples(images, mean, std, HELD_OUT, seed) if images else None
        opened.check_output(output)
        example, verify_on = _inputs(task, opened.inputs(seed))
        outcome = one_shot(
            opened.model,
            example,
            score_function(chosen, seed, task),
            target,
            task=task,
            compensate=compensation_function(compensate, seed, task),
            tuning=_tuning(epochs, lr, weight_decay, seed, task, images),
            trial_tuning=_tuning(trial_epochs, lr, weight_decay, seed, task, images),
            blocks=blocks,
            evenly=evenly,
            teach=teach,
            verify_on=verify_on,
            watch=watch,
        )
        _refuse_nothing(opened.name, target, outcome, blocks)
        result = deliver(
            output,
            opened.model,
            outcome,
            example,
            command=typed_command(context),
            model=opened.record(output) | {"data": data_record(task)},
            score=chosen.value,
            seed=seed,
            task=task,
            notes=opened.notes(),
            panels=_panels(chosen, compensate, outcome, task, seed),
            with_onnx=onnx,
            dynamic_batch=dynamic_batch,
            with_report=report,
            quantise=quantise,
            watch=watch,
        )
    show_json(result) if as_json else show_result(result, output)


def _refuse_nothing(name: str, target: Target, outcome: Outcome, blocks: int) -> None:
    """Raises TargetError where nothing went although a target asked for it: a folder with the dense network would say something else."""
    from prunus.channels.holding import holding

    asked = target.kind in ("rate", "macs", "params", "bytes") and 0 < float(target.value) != (1.0 if target.kind != "rate" else 0.0)
    if asked and not outcome.plan.removed and not blocks:
        held = holding(outcome.graph)
        raise TargetError(f"Nothing of {name} can be removed at --{target.kind} {target.value:g}{f'; what holds most: {held}' if held else ''}.")


def _panels(score: Score, compensate: Compensation | None, outcome: Outcome, task: Task | None, seed: int) -> dict[str, Any]:
    """What the report shows besides: the compensation, and dendrograms where channels were chosen by likeness."""
    usual = Compensation.REFIT if task and outcome.plan.removed else Compensation.NONE
    found: dict[str, Any] = {"compensation": (compensate or usual).value}
    if score in (Score.SIMILARITY, Score.SIMILARITY_INPUTS):
        alike, removed = similarity_of(score, outcome.graph, task, seed), outcome.plan.removed_in(outcome.graph)
        found["similarity"] = {
            "groups": [
                {"name": group.name, "links": links.tolist(), "kept": (~removed[group.channels]).tolist()}
                for group, links in zip(outcome.graph.groups, alike.links)
                if len(links) and removed[group.channels].any()
            ]
        }
    return found


def data_record(task: Task | None) -> dict[str, Any] | None:
    """The data of a run, for its result."""
    if task is None:
        return None
    mean, std = task.normalisation
    return {
        "name": task.name,
        "train": task.count("train"),
        "validation": task.count("validation"),
        "test": task.count("test"),
        "mean": list(mean),
        "std": list(std),
        "classes": list(task.classes),
    }


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
        from prunus.latency import wanted

        wanted(target.value)
    if target.kind == "tolerance" and not data:
        raise TargetError("--tolerance is kept on held-out samples: give --data.")
    if epochs and not data:
        raise ConfigError("--epochs fine-tunes on training samples: give --data.")
    if blocks and not data:
        raise ConfigError("--blocks leaves out those without which the loss on held-out samples rises least: give --data.")
    if teach and not epochs:
        raise ConfigError("--teach is for fine-tuning: give --epochs.")


def _seed(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def _load(name: str, root: Path | None, model: str, shape: tuple[int, ...] | None, watch: Bars) -> ImageData | None:
    """The samples, if any were asked for; images of a folder get the size that the model wants."""
    if not name:
        return None
    watch(f"reading {name}", 0, 0)
    wanted = shape or (natural_shape(model.partition("@")[0]) if "/" in model else None)
    return open_data(name, root, wanted[-1] if wanted else None, watch)


def _inputs(task: Task | None, random: Tensor) -> tuple[Tensor, Tensor | None]:
    """One example and a batch to verify on: real images if there are any."""
    if task is None:
        return random, None
    images, _ = next(iter(task.batches("test", VERIFIED_ON)))
    return images[:1], images


def _tuning(epochs: int, lr: float, weight_decay: float, seed: int, task: Task | None, images: ImageData | None) -> TrainConfig | None:
    """How to fine-tune, if it was asked for."""
    from prunus.training import TrainConfig

    if not epochs or task is None:
        return None
    augment = usual_augmentation(images) if images is not None else "none"  # windows of pictures are turned and mirrored
    return TrainConfig(epochs=epochs, lr=lr, weight_decay=weight_decay, augment=augment, seed=seed)
