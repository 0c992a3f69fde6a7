"""The flags of `prunus train`, one for every key of a recipe; None where a flag was not given, so that the recipe's value stands."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from prunus.methods.registry import METHODS

DATA = "Data and model"
TRAINING = "Training"
SAMPLES = "Which samples every epoch trains on"
FILTERS = "Which filters go"

DataDir = Annotated[str | None, Option("--data-dir", help="Where its files are, or are downloaded to.", rich_help_panel=DATA)]
Weights = Annotated[str | None, Option("--weights", help="Begin with these weights; default: random ones.", rich_help_panel=DATA)]
Build = Annotated[str | None, Option("--build", metavar="NAME", help="What a compact model to begin with was made from.", rich_help_panel=DATA)]
Mean = Annotated[str | None, Option("--mean", help="Mean of the planes; default: the data's.", rich_help_panel=DATA)]
Std = Annotated[str | None, Option("--std", help="Standard deviation, likewise.", rich_help_panel=DATA)]
Limit = Annotated[int | None, Option("--limit", help="Samples of every part, at most; 0 = all.", rich_help_panel=DATA)]
Workers = Annotated[
    int | None, Option("--workers", help="Threads that read image files; a function that makes a task gets it.", rich_help_panel=DATA)
]
Validation = Annotated[float | None, Option("--validation", help="Share of the training samples held out; 0 = none.", rich_help_panel=DATA)]
Block = Annotated[int | None, Option("--block", help="Tiles named …_ROW_COLUMN are held out in squares of this side.", rich_help_panel=DATA)]
Ignore = Annotated[
    int | None,
    Option(
        "--ignore", help="Label of mask pixels that count for nothing (void), in training and in metrics; 255 unless given.", rich_help_panel=DATA
    ),
]
Window = Annotated[int | None, Option("--window", help="Side of the windows cut out of pictures to train on, in pixels.", rich_help_panel=DATA)]
Windows = Annotated[int | None, Option("--windows", help="Windows that an epoch draws.", rich_help_panel=DATA)]
Epochs = Annotated[int | None, Option("--epochs", help="Passes over the samples.", rich_help_panel=TRAINING)]
BatchSize = Annotated[int | None, Option("--batch-size", help="Samples per step.", rich_help_panel=TRAINING)]
SameSteps = Annotated[bool | None, Option("--same-steps/--fewer-steps", help="Smaller batches, or fewer.", rich_help_panel=SAMPLES)]
Lr = Annotated[float | None, Option("--lr", help="Peak learning rate.", rich_help_panel=TRAINING)]
Optimizer = Annotated[str | None, Option("--optimizer", help="sgd (Nesterov), adam or adamw.", rich_help_panel=TRAINING)]
Momentum = Annotated[float | None, Option("--momentum", help="Of sgd.", rich_help_panel=TRAINING)]
WeightDecay = Annotated[float | None, Option("--weight-decay", help="L2 penalty.", rich_help_panel=TRAINING)]
Schedule = Annotated[str | None, Option("--schedule", help="constant, step, cosine or onecycle.", rich_help_panel=TRAINING)]
Milestones = Annotated[list[float] | None, Option("--milestones", help="Of step: shares of the training (repeatable).", rich_help_panel=TRAINING)]
WarmupSteps = Annotated[int | None, Option("--warmup-steps", help="Steps over which the rate rises.", rich_help_panel=TRAINING)]
Precision = Annotated[str | None, Option("--precision", help="float32 or bfloat16.", rich_help_panel=TRAINING)]
Augment = Annotated[str | None, Option("--augment", help="auto, none, crop, crop-flip or crop-flip-cutout.", rich_help_panel=TRAINING)]
Shift = Annotated[int | None, Option("--shift", help="Pixels by which images move at most; 0 = an eighth.", rich_help_panel=TRAINING)]
FirstSize = Annotated[float | None, Option("--first-size", help="Side of the images at first, as a share; they grow.", rich_help_panel=TRAINING)]
FullSizeFrom = Annotated[float | None, Option("--full-size-from", help="Share of the training before images are whole.", rich_help_panel=TRAINING)]
LabelSmoothing = Annotated[float | None, Option("--label-smoothing", help="Share of the target spread over all classes.", rich_help_panel=TRAINING)]
Loss = Annotated[
    str | None, Option("--loss", help="cross-entropy; of pixels also dice, log-jaccard, cross-entropy+log-jaccard.", rich_help_panel=TRAINING)
]
Clip = Annotated[float | None, Option("--clip", help="Largest norm of the gradient; 0 = any.", rich_help_panel=TRAINING)]
Ema = Annotated[float | None, Option("--ema", help="Decay of the average of the weights; 0 = none.", rich_help_panel=TRAINING)]
Keep = Annotated[str | None, Option("--keep", help="Weights of the last epoch, or the best by validation.", rich_help_panel=TRAINING)]
Select = Annotated[
    str | None, Option("--select", help="all, critical, fixed-ratio, mean-division, area, easy-dropped or random.", rich_help_panel=SAMPLES)
]
Drop = Annotated[float | None, Option("--drop", help="What a rule with a share leaves out.", rich_help_panel=SAMPLES)]
SelectEvery = Annotated[int | None, Option("--select-every", help="Epochs between two scorings of aggregated points.", rich_help_panel=SAMPLES)]
WarmupEpochs = Annotated[int | None, Option("--warmup-epochs", help="First epochs on all samples.", rich_help_panel=SAMPLES)]
Annealing = Annotated[float | None, Option("--annealing", help="Share of the epochs, at the end, on all samples.", rich_help_panel=SAMPLES)]
Least = Annotated[float | None, Option("--least", help="Share of every class that is always kept.", rich_help_panel=SAMPLES)]
SubsetSize = Annotated[int | None, Option("--subset-size", help="Samples per aggregated point.", rich_help_panel=SAMPLES)]
FineRatio = Annotated[float | None, Option("--fine-ratio", help="Fine points per sample.", rich_help_panel=SAMPLES)]
Attributes = Annotated[int | None, Option("--attributes", help="Principal components to aggregate by.", rich_help_panel=SAMPLES)]
Method = Annotated[
    str | None,
    Option("--method", help=f"none, {', '.join(METHODS)}; with --help after one of them, its own settings are listed.", rich_help_panel=FILTERS),
]
TuneEpochs = Annotated[
    int | None,
    Option("--tune-epochs", help="Epochs of tuning what is left (0 = none), or of a trial (0 = one).", rich_help_panel=FILTERS),
]
TuneLr = Annotated[float | None, Option("--tune-lr", help="Peak learning rate of tuning and trials.", rich_help_panel=FILTERS)]
Seed = Annotated[int | None, Option("--seed", help="Of everything random.", rich_help_panel=TRAINING)]
ChannelsLast = Annotated[bool | None, Option("--channels-last/--channels-first", help="Memory format.", rich_help_panel=TRAINING)]
Compile = Annotated[bool | None, Option("--compile/--no-compile", help="Run through torch.compile.", rich_help_panel=TRAINING)]
