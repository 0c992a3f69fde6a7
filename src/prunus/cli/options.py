"""The options of the verbs, written once: types that carry their flag and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option
from typer.models import OptionInfo

from prunus.cli.verbs import Rest
from prunus.errors import ConfigError
from prunus.runs.names import Compensation, Prefer, Runtime, Scope, Score, score_of

TARGET = "Target: exactly one"
PACKED = "Target: one, or half a point of the metric"  # of a coded file
CHOICE = "Which channels go"
MODEL = "Model"
DATA = "Data and tuning"
OTHER = "Options"

# Targets
Rate = Annotated[
    float | None,
    Option("--rate", help="Share of the channels that goes, such as 0.5.", rich_help_panel=TARGET),
]
Macs = Annotated[
    float | None,
    Option(
        "--macs", help="MACs that may be left: a share of all, or a number above 1.", rich_help_panel=TARGET
    ),
]
Params = Annotated[
    float | None,
    Option(
        "--params",
        help="Parameters that may be left: a share of all, or a number above 1.",
        rich_help_panel=TARGET,
    ),
]
Bytes = Annotated[
    float | None,
    Option(
        "--bytes",
        help="Bytes of weights that may be left: a share of all, or a number above 1.",
        rich_help_panel=TARGET,
    ),
]
Latency = Annotated[
    str | None,
    Option(
        "--latency",
        metavar="0.5|12ms",
        help="Time that one pass may take here: a share of the original's, or such as 12ms.",
        rich_help_panel=TARGET,
    ),
]
RuntimeName = Annotated[
    Runtime,
    Option(
        "--runtime",
        help="Runtime in which --latency and --round-to auto are measured.",
        rich_help_panel=Rest(TARGET),
    ),
]
Threads = Annotated[
    int, Option("--threads", min=1, help="Threads of the runtime.", rich_help_panel=Rest(TARGET))
]


def _confidence(panel: str) -> OptionInfo:
    text = "Confidence with which the loss on samples like the held-out ones stays within --tolerance."
    found: OptionInfo = Option("--confidence", help=text, rich_help_panel=panel)
    return found


Confidence = Annotated[float, _confidence(TARGET)]
PackedConfidence = Annotated[float, _confidence(PACKED)]
Tolerance = Annotated[
    float | None,
    Option(
        "--tolerance", help="Points of the metric that may be lost (needs --data).", rich_help_panel=TARGET
    ),
]

# Choice of channels


def _score(text: str) -> str:
    """A name of ours, or one that another package adds; those are looked for only if it is none of ours."""
    try:
        return score_of(text)
    except ConfigError as error:
        raise BadParameter(str(error)) from None


ScoreName = Annotated[
    str | None,
    Option(
        "--score",
        parser=_score,
        metavar=f"[{'|'.join(Score)}]",
        help=(
            "What makes a channel worth keeping (prunus methods); default: reconstruction, norm-l2 without"
            " data."
        ),
        rich_help_panel=CHOICE,
    ),
]
ScopeName = Annotated[
    Scope | None,
    Option(
        "--scope",
        help=(
            "The same share in every layer, one ranking of all, or what is lost with each layer narrower, "
            "measured on training samples (default of --macs, --params, --bytes and --latency with data)."
        ),
        rich_help_panel=CHOICE,
    ),
]
RoundTo = Annotated[
    str,
    Option(
        "--round-to",
        metavar="N|auto",
        help="Widths become multiples of this; auto: what this machine computes at once.",
        rich_help_panel=CHOICE,
    ),
]
Floor = Annotated[
    int, Option("--floor", help="Channels that every layer keeps at least.", rich_help_panel=Rest(CHOICE))
]
Blocks = Annotated[
    int,
    Option(
        "--blocks",
        min=0,
        help=(
            "Residual blocks to leave out first, by the loss on held-out samples; a target is optional then."
        ),
        rich_help_panel=CHOICE,
    ),
]
Evenly = Annotated[
    bool,
    Option(
        "--evenly",
        help="With --blocks: leave out as many blocks of every stage.",
        rich_help_panel=Rest(CHOICE),
    ),
]
Protect = Annotated[
    list[str] | None,
    Option(
        "--protect",
        metavar="GLOB",
        help="Layers that keep their width (repeatable).",
        rich_help_panel=CHOICE,
    ),
]
Exact = Annotated[
    bool, Option("--exact", help="Remove only channels whose removal is exact.", rich_help_panel=CHOICE)
]
CompensationName = Annotated[
    Compensation | None,
    Option(
        "--compensate",
        help="How the next layers make up for what goes; default: refit, if there is data.",
        rich_help_panel=CHOICE,
    ),
]
PreferKind = Annotated[
    Prefer,
    Option(
        "--prefer",
        help="What may come back: auto, or eager, which rules a traced module out.",
        rich_help_panel=Rest(CHOICE),
    ),
]

# Models
ModelName = Annotated[
    str,
    Argument(
        help=(
            "resnet56, timm/…, torchvision/…, pkg.module:factory, NAME@WEIGHTS, or a folder made by prune or"
            " train."
        )
    ),
]
Weights = Annotated[
    Path | None, Option("--weights", help="File with the model's weights.", rich_help_panel=MODEL)
]
Pretrained = Annotated[
    bool, Option("--pretrained", help="Published weights of timm or torchvision.", rich_help_panel=MODEL)
]
InputShape = Annotated[
    str,
    Option(
        "--input-shape",
        metavar="1,3,32,32",
        help="Shape of one input, if the model does not say.",
        rich_help_panel=MODEL,
    ),
]
BuildName = Annotated[
    str,
    Option(
        "--build",
        metavar="NAME",
        help=(
            "What compact models were made from, where their folder does not say it, or names code of yours."
        ),
        rich_help_panel=MODEL,
    ),
]

# Data and tuning
DataName = Annotated[
    str,
    Option(
        "--data",
        metavar="NAME",
        help=(
            "digits, mnist, fashion-mnist, cifar10, cifar100; a folder (classes, pictures with masks, idx"
            " files), an .npz file, or package.module:function, which makes a task."
        ),
        rich_help_panel=DATA,
    ),
]
DataDir = Annotated[
    Path | None,
    Option(
        "--data-dir",
        help="Where the files of the data are, or are downloaded to.",
        rich_help_panel=DATA,
    ),
]
Limit = Annotated[
    int | None,
    Option(
        "--limit",
        min=1,
        help="Take as many samples of every part at most, to try things out.",
        rich_help_panel=DATA,
    ),
]
BatchSize = Annotated[
    int | None,
    Option(
        "--batch-size",
        min=1,
        help="Samples per step, and at once where nothing is trained.",
        rich_help_panel=DATA,
    ),
]
Workers = Annotated[
    int,
    Option(
        "--workers",
        min=0,
        help="Threads that read image files; a function that makes a task gets the number.",
        rich_help_panel=DATA,
    ),
]
Window = Annotated[
    int | None,
    Option(
        "--window",
        min=1,
        help="Side of the windows cut out of pictures with masks, in pixels.",
        rich_help_panel=DATA,
    ),
]
Windows = Annotated[
    int | None,
    Option("--windows", min=1, help="Windows that an epoch draws; default: 512.", rich_help_panel=Rest(DATA)),
]
Ignore = Annotated[
    int,
    Option(
        "--ignore",
        min=0,
        max=255,
        help="Label of mask pixels that count for nothing (void), where the data are pictures with masks.",
        rich_help_panel=DATA,
    ),
]


def _planes(what: str, default: str) -> tuple[OptionInfo, OptionInfo]:
    """The options of mean and standard deviation of what inputs are normalised by."""
    mean: OptionInfo = Option(
        "--mean", metavar="M,M,M", help=f"Mean {what}; default: {default}.", rich_help_panel=DATA
    )
    std: OptionInfo = Option(
        "--std", metavar="S,S,S", help=f"Standard deviation {what}; default: {default}.", rich_help_panel=DATA
    )
    return mean, std


_EXPECTED = "that the weights expect"
_MEAN, _STD = _planes(_EXPECTED, "what the model's folder says, or that of the data")
_PICTURE_MEAN, _PICTURE_STD = _planes(
    _EXPECTED, "what the model's folder says, else that of ImageNet, or of --data"
)
_FILE_MEAN, _FILE_STD = _planes("that --takes-pixels puts into the file", "what the model's folder says")
Mean = Annotated[str, _MEAN]
Std = Annotated[str, _STD]
PictureMean = Annotated[str, _PICTURE_MEAN]
PictureStd = Annotated[str, _PICTURE_STD]
FileMean = Annotated[str, _FILE_MEAN]
FileStd = Annotated[str, _FILE_STD]
Epochs = Annotated[int, Option("--epochs", min=0, help="Epochs of fine-tuning.", rich_help_panel=DATA)]
TrialEpochs = Annotated[
    int,
    Option(
        "--trial-epochs",
        min=0,
        help="Epochs of tuning before a trial of --tolerance is judged.",
        rich_help_panel=DATA,
    ),
]
Teach = Annotated[
    bool,
    Option(
        "--teach",
        help="Let the original network teach what is left while it is fine-tuned.",
        rich_help_panel=DATA,
    ),
]
LearningRate = Annotated[
    float, Option("--lr", help="The highest learning rate of fine-tuning.", rich_help_panel=DATA)
]
WeightDecay = Annotated[
    float,
    Option("--weight-decay", help="Weight of the L2 penalty in fine-tuning.", rich_help_panel=Rest(DATA)),
]
Seed = Annotated[int, Option("--seed", help="Seed of everything random.")]

# Output
Folder = Annotated[Path, Option("-o", "--output", help="Folder for model, ONNX file, result and report.")]
DynamicBatch = Annotated[
    bool,
    Option("--dynamic-batch", help="Let the ONNX file take batches of any size.", rich_help_panel=OTHER),
]
WithOnnx = Annotated[bool, Option("--onnx/--no-onnx", help="Export to ONNX, and measure there too.")]
WithReport = Annotated[bool, Option("--report/--no-report", help="Write report.html.")]
AsJson = Annotated[bool, Option("--json", help="Print one JSON object, and nothing else, on stdout.")]
