"""`prunus train`: train from scratch, on critical data and with soft filter pruning where that is wanted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from prunus.cli import options as given
from prunus.cli import recipe_options as keys
from prunus.cli.console import bars, show, show_json
from prunus.cli.method_flags import SETTINGS
from prunus.cli.scalars import scalars
from prunus.cli.summary import show_own, show_pixels, show_result
from prunus.cli.verbs import typed_command
from prunus.errors import ConfigError
from prunus.runs import recipe_parts as parts
from prunus.runs import sample_gallery as kept
from prunus.runs.by_method import KEPT, METRICS, RECIPE, Job, by_method, check_method, line
from prunus.runs.data import Source, read_data
from prunus.runs.loading import TRAINING_FILE
from prunus.runs.recipe import NO_METHOD, Recipe, read, resolve
from prunus.runs.recipe_parts import wanted_of
from prunus.runs.train_gated import train_gated_network
from prunus.runs.train_own import train_own
from prunus.runs.train_pixels import OF_PIXELS, check_kind_of, is_of_pictures, train_pixels

if TYPE_CHECKING:
    from torch import nn

    from prunus._foundation.progress import Watch
    from prunus.tasks import Task
    from prunus.training import EpochRecord, History
    from prunus.training.distributed import Ranks

CHECKPOINTS = "checkpoint*.safetensors"  # some methods train more than once


def train(
    context: typer.Context,
    data: Annotated[
        str,
        Argument(
            help=(
                "digits, mnist, fashion-mnist, cifar10, cifar100, a folder, an .npz file, or"
                " package.module:function."
            )
        ),
    ] = "",
    model: Annotated[str, Argument(help="resnet20, lenet5, timm/…, torchvision/…, pkg.module:factory.")] = "",
    output: Annotated[Path, Option("-o", "--output", help="Folder of the run.")] = Path("runs/train"),
    recipe: Annotated[
        Path | None,
        Option("--recipe", help="TOML or YAML file; flags go before its keys, and each has its key."),
    ] = None,
    resume: Annotated[
        bool, Option("--resume", help="Go on from the folder's checkpoint, by its recipe.")
    ] = False,
    data_dir: keys.DataDir = None,
    weights: keys.Weights = None,
    build: keys.Build = None,
    mean: keys.Mean = None,
    std: keys.Std = None,
    limit: keys.Limit = None,
    workers: keys.Workers = None,
    validation: keys.Validation = None,
    block: keys.Block = None,
    ignore: keys.Ignore = None,
    window: keys.Window = None,
    windows: keys.Windows = None,
    epochs: keys.Epochs = None,
    batch_size: keys.BatchSize = None,
    same_steps: keys.SameSteps = None,
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
    shift: keys.Shift = None,
    first_size: keys.FirstSize = None,
    full_size_from: keys.FullSizeFrom = None,
    label_smoothing: keys.LabelSmoothing = None,
    loss: keys.Loss = None,
    clip: keys.Clip = None,
    ema: keys.Ema = None,
    keep: keys.Keep = None,
    compile: keys.Compile = None,
    select: keys.Select = None,
    drop: keys.Drop = None,
    select_every: keys.SelectEvery = None,
    warmup_epochs: keys.WarmupEpochs = None,
    annealing: keys.Annealing = None,
    least: keys.Least = None,
    subset_size: keys.SubsetSize = None,
    fine_ratio: keys.FineRatio = None,
    attributes: keys.Attributes = None,
    method: keys.Method = None,
    tune_epochs: keys.TuneEpochs = None,
    tune_lr: keys.TuneLr = None,
    seed: keys.Seed = None,
    tensorboard: Annotated[
        bool, Option("--tensorboard", help="Curves for TensorBoard, in the folder's tensorboard/.")
    ] = False,
    onnx: given.WithOnnx = True,
    dynamic_batch: given.DynamicBatch = False,
    report: given.WithReport = True,
    as_json: given.AsJson = False,
) -> None:
    """Train a network; on critical samples (--select), and pruned by any method (--method) if wanted, whose
    own settings --help lists behind it.

    For example: prunus train cifar10 resnet20 --method soft --rate 0.3 --select easy-dropped -o runs/twofold;
    prunus train tiles/ unet --window 256 --batch-size 8 --optimizer adam --lr 1e-3 --method importance
        --tolerance 0.5;
    with several processes: torchrun --nproc-per-node 2 --no-python prunus train …
    """
    from rich.markup import escape

    from prunus._foundation.progress import unwatched
    from prunus.runs.delivery import check
    from prunus.storage.lock import folder_lock
    from prunus.training.distributed import process_group

    flags = {
        name: value
        for name, value in context.params.items()
        if name not in _NOT_KEYS and value not in (None, "", (), [])
    }
    flags |= context.meta.get(SETTINGS, {})
    with folder_lock(output):
        begun = _begun(output, resume)
        values = read(recipe) if recipe else begun.values() if begun else {}
        chosen = resolve(values | flags, str(recipe) if recipe else "The command", flags)
        if begun is not None:
            _check_same(begun, chosen, output)
            if recipe is None:
                _check_own(begun, flags, output)
        check_method(chosen)
        check_kind_of(chosen)
        pixels = is_of_pictures(chosen) and chosen.method in OF_PIXELS
        delivered = chosen.method != NO_METHOD and not pixels
        check(output, with_onnx=onnx and delivered, with_report=report and delivered)
        with (
            process_group() as ranks,
            _notes(output, tensorboard and ranks.first) as note,
            bars() if ranks.first else nullcontext(unwatched) as watch,
        ):
            command = typed_command(context)
            source = read_data(wanted_of(chosen, "batch_size" in flags), None, watch)
            if pixels and source.pictures is not None:
                result = train_pixels(chosen, source.pictures, output, command, resume, ranks, watch, note)
            elif source.images is None:
                delivery = {"with_onnx": onnx, "with_report": report, "dynamic_batch": dynamic_batch}
                result = train_own(chosen, source, output, command, resume, ranks, watch, note, delivery)
            else:
                result = _run(
                    chosen, source, output, command, resume, onnx, dynamic_batch, report, ranks, watch, note
                )
    if not ranks.first:
        return
    if as_json:
        show_json(result)
    elif delivered:
        show_result(result, output)
    elif pixels:
        show_pixels(result, output)
    elif "metric" in result:
        show_own(result, output)
    else:
        show(
            f"\n[bold]{escape(chosen.model)}: {result['accuracy']:.2f} % on the test set[/bold],"
            f" {output / 'model.safetensors'}"
        )


def _begun(folder: Path, resume: bool) -> Recipe | None:
    """The recipe of the training that is to be resumed, if there is one. Raises ConfigError where a new
    training would overwrite another.
    """
    if not any(folder.glob(CHECKPOINTS)):
        return None
    if not resume:
        raise ConfigError(
            f"{folder} holds the checkpoint of a training: --resume goes on with it; for a new one choose"
            " another folder."
        )
    return resolve(read(folder / RECIPE), str(folder / RECIPE))


def _check_own(begun: Recipe, flags: Mapping[str, Any], folder: Path) -> None:
    """Raises ConfigError where the recipe in a folder names code, and the user does not: what a file names is
    never called.
    """
    for key in ("data", "model", "build"):
        name = getattr(begun, key)
        if ":" in name and key not in flags:
            again = (
                f"--build {name}"
                if key == "build"
                else f"prunus train {begun.data} {begun.model} --resume -o {folder}"
            )
            raise ConfigError(
                f"The recipe {folder / RECIPE} names {name}, and prunus does not call what a file names: give"
                f" it again, as in {again}."
            )


def _check_same(begun: Recipe, chosen: Recipe, folder: Path) -> None:
    """Raises ConfigError if a resumed training would go on in another way than it began."""
    before, after = begun.values(), chosen.values()
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if key != "data_dir" and old != new:
            raise ConfigError(
                f"{folder} was begun with {key} = {old!r}, not {new!r}: resume with the same settings, or"
                " choose another folder."
            )


_NOT_KEYS = ("output", "recipe", "resume", "tensorboard", "onnx", "dynamic_batch", "report", "as_json")
Note = Callable[["EpochRecord"], None]


def _notes(folder: Path, tensorboard: bool) -> AbstractContextManager[Note]:
    """What else is told about every epoch."""
    return scalars(folder / "tensorboard") if tensorboard else nullcontext(lambda record: None)


def _run(
    recipe: Recipe,
    source: Source,
    folder: Path,
    command: str,
    resume: bool,
    onnx: bool,
    dynamic_batch: bool,
    report: bool,
    ranks: Ranks,
    watch: Watch,
    also: Note,
) -> dict[str, Any]:
    """Train, and write the folder; where several processes train together, the first one writes."""
    import torch

    from prunus.report.result import write_text
    from prunus.tasks.words import record_of
    from prunus.training import batches

    images, samples = source.images, source.task()
    assert images is not None
    config = parts.config(recipe, images)
    torch.manual_seed(recipe.seed)
    opened = source.open(
        recipe.model, weights=Path(recipe.weights) if recipe.weights else None, build_name=recipe.build
    )
    opened.check_output(folder)
    example, _ = next(iter(batches(samples.samples("test"), samples.normalisation, 1)))
    opened.model.to(ranks.device)
    example = example.to(ranks.device)
    metrics = folder / METRICS
    if ranks.first:
        if not resume:
            metrics.unlink(missing_ok=True)
            shutil.rmtree(folder / KEPT, ignore_errors=True)
        write_text(recipe.to_toml(), folder / RECIPE)

    def note(record: EpochRecord, step: str = "") -> None:
        if ranks.first:
            before = metrics.read_text() if metrics.exists() else ""
            write_text(before + line(record, step), metrics)
            if step in ("", "training"):  # of several trainings the first is drawn
                also(record)

    job = Job(recipe, folder, resume, opened.model, samples, config, example, watch, note)
    if recipe.method == "dynamic":
        return train_gated_network(
            job,
            opened,
            images,
            opened.record(folder) | {"data": record_of(samples)},
            command,
            onnx,
            report,
            ranks,
        )
    made = by_method(job)
    if not ranks.first:
        return {}
    if made.training is not None and made.alone:
        write_text(
            "".join(map(line, made.training.epochs)), metrics
        )  # a killed run may have written an epoch twice
    for network in (opened.model, made.dense, made.outcome.model if made.outcome else None):
        if network is not None:
            network.cpu()
    record = opened.record(folder) | {"data": record_of(samples)}
    if made.outcome is None:
        assert made.training is not None
        return _plain_result(made.dense, samples, made.training, record, folder, command)
    from prunus.runs.delivery import deliver

    selected = (
        kept.panel(folder / KEPT, made.training, samples.samples("train"), images.classes)
        if made.training
        else None
    )
    return deliver(
        folder,
        made.dense,
        made.outcome,
        example.cpu(),
        command=command,
        model=record,
        score=made.score,
        seed=recipe.seed,
        task=samples,
        training=made.training,
        panels=made.panels | {"selection": selected},
        with_onnx=onnx,
        dynamic_batch=dynamic_batch,
        with_report=report,
        watch=watch,
    )


def _plain_result(
    model: nn.Module, samples: Task, history: History, record: dict[str, Any], folder: Path, command: str
) -> dict[str, Any]:
    """What a training without pruning leaves behind: the weights and their accuracy on the test set."""
    from prunus import storage
    from prunus.report.result import write_text
    from prunus.runs.delivery import run_files
    from prunus.training import evaluate

    found = evaluate(model, samples.samples("test"), samples.normalisation)
    result = {
        "command": command,
        "model": record,
        "accuracy": found.accuracy,
        "loss": found.loss,
        "training": history.to_dict(),
    }
    with run_files(folder) as staged:
        storage.save(model, staged / "model.safetensors")
        write_text(json.dumps(result, indent=1) + "\n", staged / TRAINING_FILE)
    return result
