"""`prunus train`: train from scratch, on critical data and with soft filter pruning where that is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from prunus._foundation.launch import launch
from prunus._foundation.progress import unwatched
from prunus.cli import options as given
from prunus.cli import recipe_options as keys
from prunus.cli.console import bars, show_json
from prunus.cli.method_flags import SETTINGS
from prunus.cli.signals import when_stopped
from prunus.cli.summary import show_rate, show_trained
from prunus.cli.verbs import typed_command
from prunus.errors import ConfigError


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
        Option(
            "--recipe", help="TOML or YAML file, or fast; flags go before its keys, and each has its key."
        ),
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
    first_batch: keys.FirstBatch = None,
    same_steps: keys.SameSteps = None,
    lr: keys.Lr = None,
    optimizer: keys.Optimizer = None,
    momentum: keys.Momentum = None,
    weight_decay: keys.WeightDecay = None,
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
    loss: keys.Loss = None,
    clip: keys.Clip = None,
    ema: keys.Ema = None,
    average: keys.Average = None,
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
    find_lr: Annotated[
        bool,
        Option(
            "--find-lr",
            help="Do not train: find the learning rate to train with, by a short test on held-out samples.",
        ),
    ] = False,
    onnx: given.WithOnnx = True,
    dynamic_batch: given.DynamicBatch = False,
    report: given.WithReport = True,
    as_json: given.AsJson = False,
) -> None:
    """Train a network; on critical samples (--select), and pruned by any method (--method) if wanted, whose
    own settings --help lists behind it.

    For example: prunus train cifar10 resnet20 --method soft --rate 0.3 --select lower-bound -o runs/twofold;
    prunus train tiles/ unet --window 256 --batch-size 8 --optimizer adam --lr 1e-3 --method importance
        --tolerance 0.5;
    with several processes: torchrun --nproc-per-node 2 --no-python prunus train …
    """
    from prunus.runs.settings import Delivery
    from prunus.runs.training import going_on, recipe_of, train

    flags = {
        name: value
        for name, value in context.params.items()
        if name not in _NOT_KEYS and value not in (None, "", (), [])
    }
    flags |= context.meta.get(SETTINGS, {})
    if find_lr:
        if resume:
            raise ConfigError("--find-lr does not train, so nothing is gone on with: leave out --resume.")
        _find_lr(context, flags, recipe, as_json)
        return
    when_stopped(lambda: going_on(output))
    chosen = recipe_of(flags, recipe, output, resume)
    with bars() if _leads() else nullcontext(unwatched) as watch:
        result = train(
            chosen,
            output,
            resume=resume,
            sized="batch_size" in flags,
            tensorboard=tensorboard,
            delivery=Delivery(onnx, dynamic_batch, report),
            command=typed_command(context),
            watch=watch,
        )
    if result:
        show_json(result) if as_json else show_trained(result, output, chosen.model)


_NOT_KEYS = tuple(
    "output recipe resume tensorboard find_lr onnx dynamic_batch report as_json".split(),
)


def _find_lr(context: typer.Context, flags: Mapping[str, Any], recipe: Path | None, as_json: bool) -> None:
    """One figure, and where it comes from."""
    from prunus.runs.rate_test import find_lr
    from prunus.runs.recipe import read, resolve

    values = {**(read(recipe) if recipe else {}), **flags}
    chosen = resolve(values, str(recipe) if recipe else "The command", flags)
    with bars() if _leads() else nullcontext(unwatched) as watch:
        found = find_lr(chosen, sized="batch_size" in flags, command=typed_command(context), watch=watch)
    if _leads():
        show_json(found) if as_json else show_rate(found)


def _leads() -> bool:
    """Whether this process is the only one, or the first of those that torchrun has started."""
    return launch().first
