"""`prunus train`: train from scratch, on critical data and with soft filter pruning where that is wanted."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from prunus.cli import options as given
from prunus.cli import recipe_options as keys
from prunus.cli.console import Bars, bars, show, show_json
from prunus.cli.finish import show_result
from prunus.cli.opening import open_data, open_model, parse_planes
from prunus.cli.prune import VERIFIED_ON, data_record
from prunus.cli.recipe import Recipe, read, resolve
from prunus.errors import ConfigError

if TYPE_CHECKING:
    from prunus.data import ImageData
    from prunus.methods.one_shot import Material
    from prunus.methods.soft import SoftPruning
    from prunus.selection import Selection
    from prunus.training import Curriculum, EpochRecord, TrainConfig

CHECKPOINT = "checkpoint.safetensors"


def train(
    context: typer.Context,
    data: Annotated[str, Argument(help="digits, mnist, fashion-mnist, cifar10, cifar100, or an image folder.")] = "",
    model: Annotated[str, Argument(help="resnet20, lenet5, timm/…, torchvision/…, pkg.module:factory.")] = "",
    output: Annotated[Path, Option("-o", "--output", help="Folder of the run.")] = Path("runs/train"),
    recipe: Annotated[Path | None, Option("--recipe", help="TOML or YAML file; flags go before its keys, and each has its key.")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from the folder's checkpoint.")] = False,
    data_dir: keys.DataDir = None,
    weights: keys.Weights = None,
    mean: keys.Mean = None,
    std: keys.Std = None,
    validation: keys.Validation = None,
    epochs: keys.Epochs = None,
    batch_size: keys.BatchSize = None,
    lr: keys.Lr = None,
    optimizer: keys.Optimizer = None,
    momentum: keys.Momentum = None,
    weight_decay: keys.WeightDecay = None,
    schedule: keys.Schedule = None,
    milestones: keys.Milestones = None,
    warmup_steps: keys.WarmupSteps = None,
    precision: keys.Precision = None,
    channels_last: keys.ChannelsLast = None,
    augment: keys.Augment = None,
    label_smoothing: keys.LabelSmoothing = None,
    clip: keys.Clip = None,
    ema: keys.Ema = None,
    compile: keys.Compile = None,
    select: keys.Select = None,
    drop: keys.Drop = None,
    warmup_epochs: keys.WarmupEpochs = None,
    annealing: keys.Annealing = None,
    least: keys.Least = None,
    subset_size: keys.SubsetSize = None,
    fine_ratio: keys.FineRatio = None,
    attributes: keys.Attributes = None,
    method: keys.Method = None,
    rate: keys.Rate = None,
    growth: keys.Growth = None,
    prune_every: keys.PruneEvery = None,
    norm: keys.Norm = None,
    protect: keys.Protect = None,
    tune_epochs: keys.TuneEpochs = None,
    tune_lr: keys.TuneLr = None,
    seed: keys.Seed = None,
    onnx: given.WithOnnx = True,
    report: given.WithReport = True,
    as_json: given.AsJson = False,
) -> None:
    """Train a network; on critical samples (--select) and with soft filter pruning (--method soft) where that is wanted.

    For example: prunus train cifar10 resnet20 --method soft --rate 0.3 --select critical -o runs/twofold
    """
    from prunus.cli.app import typed_command
    from prunus.report.delivery import check

    flags = {name: value for name, value in context.params.items() if name not in _NOT_KEYS and value not in (None, "")}
    chosen = resolve((read(recipe) if recipe else {}) | flags, str(recipe) if recipe else "the command")
    check(output, with_onnx=onnx and chosen.method == "soft", with_report=report and chosen.method == "soft")
    if not resume and (output / CHECKPOINT).exists():
        raise ConfigError(f"{output} holds the checkpoint of a training: --resume goes on with it; for a new one choose another folder.")
    with bars() as watch:
        result = _run(chosen, output, typed_command(context), resume, onnx, report, watch)
    if as_json:
        show_json(result)
    elif chosen.method == "soft":
        show_result(result, output)
    else:
        show(f"\n[bold]{chosen.model}: {result['accuracy']:.2f} % on the test set[/bold], {output / 'model.safetensors'}")


_NOT_KEYS = ("output", "recipe", "resume", "onnx", "report", "as_json")


def _run(recipe: Recipe, folder: Path, command: str, resume: bool, onnx: bool, report: bool, watch: Bars) -> dict[str, Any]:
    import torch

    from prunus import storage
    from prunus.methods.twofold import twofold
    from prunus.report.delivery import deliver
    from prunus.report.result import write_text
    from prunus.training import batches, evaluate

    images = open_data(recipe.data, Path(recipe.data_dir) if recipe.data_dir else None, None, watch)
    material = _material(recipe, images)
    config = _config(recipe, images)
    torch.manual_seed(recipe.seed)
    opened = open_model(recipe.model, weights=Path(recipe.weights) if recipe.weights else None, data=images)
    example, _ = next(iter(batches(material.test, material.normalise, VERIFIED_ON)))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(recipe.to_toml(), folder / "recipe.toml")
    pruning = _pruning(recipe, example[:1])
    watch("choosing what to choose from", 0, 0)
    curriculum = _curriculum(recipe, images, material, folder)
    records: list[EpochRecord] = []

    def note(record: EpochRecord) -> None:
        records.append(record)
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(_line(record))

    trained = twofold(
        opened.model,
        example[:1],
        material,
        config,
        pruning=pruning,
        curriculum=curriculum,
        tuning=replace(config, epochs=recipe.tune_epochs, lr=recipe.tune_lr) if recipe.tune_epochs else None,
        checkpoint=folder / CHECKPOINT,
        resume=resume,
        on_epoch=note,
        verify_on=example,
        watch=watch,
    )
    write_text("".join(map(_line, trained.history.epochs)), folder / "metrics.jsonl")  # a killed run may have written an epoch twice
    record = opened.record() | {"data": data_record(images, material)}
    if trained.outcome is not None:
        return deliver(
            folder,
            opened.model,
            trained.outcome,
            example[:1],
            command=command,
            model=record,
            score=f"norm-l{recipe.norm:g}",
            seed=recipe.seed,
            material=material,
            training=trained.history,
            with_onnx=onnx,
            with_report=report,
            watch=watch,
        )
    watch("evaluating", 0, 0)
    found = evaluate(opened.model, material.test, material.normalise)
    storage.save(opened.model, folder / "model.safetensors")
    result = {"command": command, "model": record, "accuracy": found.accuracy, "loss": found.loss, "training": trained.history.to_dict()}
    write_text(json.dumps(result, indent=1) + "\n", folder / "training.json")
    return result


def _line(record: EpochRecord) -> str:
    return json.dumps(asdict(record)) + "\n"


def _material(recipe: Recipe, images: ImageData) -> Material:
    from prunus.methods.one_shot import Material

    planes = images.image_shape[0]
    normalise = parse_planes(recipe.mean, planes, "mean") or images.mean, parse_planes(recipe.std, planes, "std") or images.std
    if not recipe.validation:
        return Material(images.train, images.test, normalise)
    kept, held_out = images.hold_out(recipe.validation, recipe.seed)
    return Material(kept, images.test, normalise, held_out)


def _config(recipe: Recipe, images: ImageData) -> TrainConfig:
    from dataclasses import fields

    from prunus.training import TrainConfig

    own = {f.name: getattr(recipe, f.name) for f in fields(TrainConfig)}
    if recipe.augment == "auto":
        own["augment"] = "crop-flip" if images.image_shape[0] == 3 else "none"
    return TrainConfig(**own)


def _pruning(recipe: Recipe, example: Any) -> SoftPruning | None:
    from prunus.methods.soft import SoftPruning

    if recipe.method == "none":
        return None
    return SoftPruning(example, recipe.rate, growth=recipe.growth, every=recipe.prune_every, p=recipe.norm, protect=recipe.protect)


def _curriculum(recipe: Recipe, images: ImageData, material: Material, folder: Path) -> Curriculum | None:
    """What the epochs train on; the kept samples of every epoch are written to the folder."""
    import numpy as np

    from prunus import selection

    if recipe.select == "all":
        return None
    labels, count = material.train.labels.numpy(), len(material.train)
    chooser: Any
    if recipe.select == "random":
        chooser = selection.Random(count, 1 - recipe.drop, recipe.seed)
    elif recipe.select == "easy-dropped":
        chooser = selection.EasyDropped(count, recipe.drop, recipe.seed)
    else:
        samples = material.train.images.numpy()
        components = selection.principal_components(samples, min(recipe.attributes, int(np.prod(samples.shape[1:]))))
        subsets = selection.aggregate(labels, components, subset_size=recipe.subset_size, fine_ratio=recipe.fine_ratio)
        rules: dict[str, Any] = {
            "critical": selection.critical,
            "fixed-ratio": lambda effects, subsets, fine: selection.fixed_ratio(effects, subsets, recipe.drop),
            "mean-division": lambda effects, subsets, fine: selection.mean_division(effects, subsets),
            "area": lambda effects, subsets, fine: selection.area(effects, subsets, recipe.drop),
        }
        chooser = selection.Aggregated(selection.Points(samples, subsets, material.normalise), rules[recipe.select])
    kept = folder / "kept"
    kept.mkdir(parents=True, exist_ok=True)

    def keep_record(epoch: int, chosen: Selection) -> None:
        np.save(kept / f"epoch-{epoch + 1:04d}.npy", chosen.indices.astype(np.int32))

    return selection.Scheduled(
        chooser,
        labels,
        warmup=recipe.warmup_epochs,
        annealing=recipe.annealing,
        least=recipe.least,
        seed=recipe.seed,
        keep_record=keep_record,
    )
