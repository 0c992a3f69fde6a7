"""The flags of `prunus train`, one for every key of a recipe; None where a flag was not given, so that the
recipe's value stands.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

from typer import Option

from prunus.cli.verbs import Rest
from prunus.methods.registry import METHODS
from prunus.runs.recipe import Recipe

DATA = "Data and model"
TRAINING = "Training"
SAMPLES = "Which samples every epoch trains on"
FILTERS = "Which filters go"

_DEFAULTS = {field.name: field.default for field in fields(Recipe)}


def _key(flag: str, text: str, panel: str, **more: Any) -> Any:
    """The flag of a key, whose help ends with the recipe's default where the text does not say it."""
    default = _DEFAULTS[flag.split("/")[0].removeprefix("--").replace("-", "_")]
    said = "" if default == "" or "Default:" in text else f" Default: {_shown(default, flag)}."
    return Option(flag, help=text + said, rich_help_panel=panel, **more)


def _shown(default: Any, flag: str) -> str:
    if isinstance(default, bool):
        return flag.split("/")[0 if default else 1]
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


DataDir = Annotated[
    str | None, _key("--data-dir", "Where the files of the data are, or are downloaded to.", DATA)
]
Weights = Annotated[str | None, _key("--weights", "Begin with the weights in this file.", DATA)]
Build = Annotated[
    str | None,
    _key("--build", "What a compact model to begin with was made from.", DATA, metavar="NAME"),
]
Mean = Annotated[
    str | None,
    _key(
        "--mean",
        "Mean of every plane, by which inputs are normalised. Default: that of the data.",
        DATA,
    ),
]
Std = Annotated[
    str | None,
    _key(
        "--std",
        "Standard deviation of every plane, by which inputs are normalised. Default: that of the data.",
        DATA,
    ),
]
Limit = Annotated[
    int | None, _key("--limit", "Take as many samples of every part at most; 0 takes all.", DATA)
]
Workers = Annotated[
    int | None,
    _key(
        "--workers",
        "Threads that read image files; a function that makes a task gets the number.",
        DATA,
    ),
]
Validation = Annotated[
    float | None,
    _key(
        "--validation", "Share of the training samples that is held out to choose by; 0 holds out none.", DATA
    ),
]
Block = Annotated[
    int | None, _key("--block", "Tiles named …_ROW_COLUMN are held out in squares of this side.", Rest(DATA))
]
Ignore = Annotated[
    int | None,
    _key(
        "--ignore",
        "Label of mask pixels that count for nothing (void), in training and in metrics.",
        DATA,
    ),
]
Window = Annotated[
    int | None, _key("--window", "Side of the windows cut out of pictures to train on, in pixels.", DATA)
]
Windows = Annotated[int | None, _key("--windows", "Windows that an epoch draws.", Rest(DATA))]
Epochs = Annotated[int | None, _key("--epochs", "Passes over the training samples.", TRAINING)]
BatchSize = Annotated[int | None, _key("--batch-size", "Samples per step.", TRAINING)]
FirstBatch = Annotated[
    float | None,
    _key(
        "--first-batch",
        "Size of the batches in the first epoch, as a share; they grow to the whole in the last.",
        Rest(TRAINING),
    ),
]
SameSteps = Annotated[
    bool | None,
    _key(
        "--same-steps/--fewer-steps",
        "Where an epoch trains on fewer samples: as many steps with smaller batches, or fewer steps.",
        Rest(SAMPLES),
    ),
]
Lr = Annotated[float | None, _key("--lr", "The highest learning rate of the schedule.", TRAINING)]
Optimizer = Annotated[
    str | None,
    _key("--optimizer", "What steps: sgd (with Nesterov momentum), adam, adamw or muon.", TRAINING),
]
Momentum = Annotated[float | None, _key("--momentum", "Momentum of sgd and muon.", Rest(TRAINING))]
WeightDecay = Annotated[
    float | None, _key("--weight-decay", "Weight of the L2 penalty on the weights.", Rest(TRAINING))
]
Schedule = Annotated[
    str | None,
    _key("--schedule", "How the learning rate goes: constant, step, cosine or onecycle.", TRAINING),
]
Milestones = Annotated[
    list[float] | None,
    _key(
        "--milestones",
        "Shares of the training after which the schedule step divides the rate by ten (repeatable).",
        Rest(TRAINING),
    ),
]
WarmupSteps = Annotated[
    int | None, _key("--warmup-steps", "Steps over which the learning rate rises at first.", Rest(TRAINING))
]
Rewind = Annotated[
    int | None,
    _key(
        "--rewind",
        "Epochs of a longer training whose last learning rates are replayed; 0 is a schedule of its own.",
        Rest(TRAINING),
    ),
]
Precision = Annotated[
    str | None,
    _key("--precision", "What forwards and gradients are computed in: float32 or bfloat16.", Rest(TRAINING)),
]
Augment = Annotated[
    str | None,
    _key("--augment", "How images are varied: auto, none, crop, crop-flip or crop-flip-cutout.", TRAINING),
]
Flips = Annotated[
    str | None,
    _key(
        "--flips",
        "Which images are mirrored, if any: random ones, or alternating, each in every other epoch.",
        Rest(TRAINING),
    ),
]
Shift = Annotated[
    int | None,
    _key(
        "--shift", "Pixels by which images are moved at most; 0 is an eighth of their side.", Rest(TRAINING)
    ),
]
FirstSize = Annotated[
    float | None,
    _key(
        "--first-size",
        "Side of the images in the first epoch, as a share; it grows from there.",
        Rest(TRAINING),
    ),
]
FullSizeFrom = Annotated[
    float | None,
    _key(
        "--full-size-from", "Share of the training after which images have their full size.", Rest(TRAINING)
    ),
]
LabelSmoothing = Annotated[
    float | None,
    _key("--label-smoothing", "Share of every target that is spread over all classes.", Rest(TRAINING)),
]
Loss = Annotated[
    str | None,
    _key(
        "--loss",
        "What is minimised: cross-entropy; of pixels also dice, log-jaccard or cross-entropy+log-jaccard.",
        TRAINING,
    ),
]
Clip = Annotated[
    float | None, _key("--clip", "Largest norm of the gradient; 0 lets it be any.", Rest(TRAINING))
]
Ema = Annotated[
    float | None,
    _key(
        "--ema",
        "Decay of the average of the weights that is kept instead of them; 0 keeps the weights.",
        Rest(TRAINING),
    ),
]
Average = Annotated[
    float | None,
    _key(
        "--average",
        "Share of the training, at the end, whose weights are averaged alike; 0 averages none.",
        Rest(TRAINING),
    ),
]
Keep = Annotated[
    str | None,
    _key(
        "--keep",
        "Which weights are kept: those of the last epoch, or the best by validation.",
        Rest(TRAINING),
    ),
]
Select = Annotated[
    str | None,
    _key(
        "--select",
        "Which samples an epoch trains on: all; by their last losses lower-bound (the one to begin with),"
        " easy-dropped, importance or sliding-window; by a small proxy; by aggregated points critical,"
        " critical-softer, fixed-ratio, mean-division or area; or random.",
        SAMPLES,
    ),
]
Drop = Annotated[
    float | None, _key("--drop", "Share of the samples that a rule with a share leaves out.", Rest(SAMPLES))
]
SelectEvery = Annotated[
    int | None, _key("--select-every", "Epochs between two scorings of aggregated points.", Rest(SAMPLES))
]
WarmupEpochs = Annotated[
    int | None,
    _key(
        "--warmup-epochs",
        "Epochs at the beginning that train on all samples. Default: 1, of lower-bound 2.",
        Rest(SAMPLES),
    ),
]
Annealing = Annotated[
    float | None,
    _key(
        "--annealing",
        "Share of the epochs, at the end, that train on all samples. Default: 0, of lower-bound 0.2.",
        Rest(SAMPLES),
    ),
]
Least = Annotated[float | None, _key("--least", "Share of every class that is always kept.", Rest(SAMPLES))]
SubsetSize = Annotated[
    int | None, _key("--subset-size", "Samples that an aggregated point stands for.", Rest(SAMPLES))
]
FineRatio = Annotated[float | None, _key("--fine-ratio", "Fine points per sample.", Rest(SAMPLES))]
Attributes = Annotated[
    int | None, _key("--attributes", "Principal components by which samples are aggregated.", Rest(SAMPLES))
]
Method = Annotated[
    str | None,
    _key(
        "--method",
        f"What prunes: none, {', '.join(METHODS)}. With --help after one of them, its own settings are"
        " listed.",
        FILTERS,
    ),
]
TuneEpochs = Annotated[
    int | None,
    _key(
        "--tune-epochs",
        "Epochs of tuning what is left (0 tunes not at all), or of a trial (0 is one epoch).",
        FILTERS,
    ),
]
TuneLr = Annotated[
    float | None, _key("--tune-lr", "The highest learning rate of tuning and of trials.", FILTERS)
]
Seed = Annotated[int | None, _key("--seed", "Seed of everything random.", TRAINING)]
ChannelsLast = Annotated[
    bool | None, _key("--channels-last/--channels-first", "How images lie in memory.", Rest(TRAINING))
]
Compile = Annotated[
    bool | None,
    _key("--compile/--no-compile", "Run the training step through torch.compile.", Rest(TRAINING)),
]
