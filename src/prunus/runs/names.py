"""What the options may be: the one place where names that users type become functions of the library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, cast

from prunus.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from prunus.measure.runtimes import Runtime as RuntimeName
    from prunus.methods.common import Compensate
    from prunus.paint.graph import ChannelGraph
    from prunus.tasks import Task


class Scope(StrEnum):
    """Where scores are compared, or that widths are chosen by measured losses."""

    UNIFORM = "uniform"
    GLOBAL = "global"
    MEASURED = "measured"


class Prefer(StrEnum):
    """Which kind of compact module."""

    AUTO = "auto"
    EAGER = "eager"


class Runtime(StrEnum):
    """What latency can be planned for."""

    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"


class Served(StrEnum):
    """Runtimes, and the device where that is not the CPU."""

    TORCH = "torch"
    TORCH_COMPILE = "torch-compile"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TORCH_CUDA = "torch-cuda"
    TORCH_COMPILE_CUDA = "torch-compile-cuda"

    @property
    def runtime(self) -> RuntimeName:
        """Its name in the library."""
        return cast("RuntimeName", self.value.removesuffix("-cuda"))

    @property
    def device(self) -> str:
        """Where models and inputs have to be."""
        return "cuda" if self.value.endswith("-cuda") else "cpu"

    @property
    def compiles(self) -> bool:
        """Whether it may take minutes before the first pass."""
        return self.runtime == "torch-compile"

    @property
    def reads_files(self) -> bool:
        """Whether it takes ONNX files."""
        return self.runtime in ("onnxruntime", "openvino")


class Score(StrEnum):
    """Names of the scores."""

    NORM_L1 = "norm-l1"
    NORM_L2 = "norm-l2"
    BN_SCALE = "bn-scale"
    GEOMETRIC_MEDIAN = "geometric-median"
    SIMILARITY = "similarity"
    SIMILARITY_INPUTS = "similarity-inputs"
    ACTIVATION_MEAN = "activation-mean"
    RECONSTRUCTION = "reconstruction"
    THINET = "thinet"
    LASSO = "lasso"
    NISP = "nisp"
    TAYLOR = "taylor"
    PLS = "pls"
    CAR = "car"
    RANDOM = "random"


class Compensation(StrEnum):
    """What makes up for the channels that went."""

    REFIT = "refit"
    MEANS = "means"
    MERGE = "merge"
    NONE = "none"


class Needs(StrEnum):
    """What a score or a method looks at besides the weights."""

    NOTHING = "–"
    INPUTS = "inputs"
    LABELS = "labels"
    TRAINING = "training"


@dataclass(frozen=True)
class About:
    """What a score or a method is, where it comes from, what it looks at, and what that costs on the
    calibration samples.
    """

    summary: str
    paper: str
    needs: Needs = Needs.NOTHING
    cost: str = "instant"


SCORES: dict[Score, About] = {
    Score.NORM_L1: About("sum of the absolute weights of a channel", "Li et al. 2017, arXiv 1608.08710"),
    Score.NORM_L2: About("Euclidean norm of the weights of a channel", "He et al. 2018, arXiv 1808.06866"),
    Score.BN_SCALE: About("absolute batch-norm scale of a channel", "Liu et al. 2017, arXiv 1708.06519"),
    Score.GEOMETRIC_MEDIAN: About(
        "distance to the other channels of the layer", "He et al. 2019, arXiv 1811.00250"
    ),
    Score.SIMILARITY: About(
        "unlikeness to those that could stand in for it, on noise",
        "Zhang et al. 2019, arXiv 1908.02620",
        cost="some forwards, on noise",
    ),
    Score.SIMILARITY_INPUTS: About(
        "the same, on real inputs", "Zhang et al. 2019, arXiv 1908.02620", Needs.INPUTS, "a forward pass"
    ),
    Score.ACTIVATION_MEAN: About(
        "mean activation of a channel",
        "Molchanov et al. 2017, arXiv 1611.06440",
        Needs.INPUTS,
        "a forward pass",
    ),
    Score.RECONSTRUCTION: About(
        "error of the next layers once refitted without it",
        "Kurtic et al. 2023, arXiv 2302.04089",
        Needs.INPUTS,
        "a forward pass, an inverse per layer",
    ),
    Score.THINET: About(
        "error of the next layers without it",
        "Luo et al. 2017, arXiv 1707.06342",
        Needs.INPUTS,
        "a forward pass",
    ),
    Score.LASSO: About(
        "penalty under which the next layers still use it",
        "He et al. 2017, arXiv 1707.06168",
        Needs.INPUTS,
        "a forward pass",
    ),
    Score.NISP: About(
        "importance propagated from the final response",
        "Yu et al. 2018, arXiv 1711.05908",
        Needs.INPUTS,
        "a forward pass",
    ),
    Score.TAYLOR: About(
        "change of the loss to first order",
        "Molchanov et al. 2019, arXiv 1906.10771",
        Needs.LABELS,
        "a backward pass",
    ),
    Score.PLS: About(
        "importance in a projection onto the labels",
        "Jordao et al. 2018, arXiv 1810.07610",
        Needs.LABELS,
        "a forward pass",
    ),
    Score.CAR: About(
        "accuracy lost without it, measured",
        "Abbasi-Asl and Yu 2017, arXiv 1705.07356",
        Needs.LABELS,
        "an evaluation per two channels",
    ),
    Score.RANDOM: About("a random number: the control of every comparison", "–"),
}


def scores() -> dict[str, About]:
    """All scores, those of other packages last."""
    return {score.value: about for score, about in SCORES.items()} | {
        name: About(f"a score of the package {package}", "–") for name, package in _others().items()
    }


def _others() -> dict[str, str]:
    """Scores of other packages, and which."""
    from prunus._foundation.extensions import added

    return {name: one.package for name, one in added("prunus.scores", list(Score)).items()}


def score_of(name: Score | str) -> Score | str:
    """A score by its name: one of ours, or the name of another package's. Raises ConfigError for others."""
    if name in list(Score):
        return Score(name)
    if name not in _others():
        raise ConfigError(f"score must be one of {', '.join((*Score, *_others()))}, not {str(name)!r}.")
    return name


def score_function(score: Score | str, seed: int, task: Task | None) -> Callable[[ChannelGraph], Tensor]:
    """The score as a function of a graph.

    Raises:
        ConfigError: it looks at data, and there are none; or it is one of another package, and broken.
    """
    from prunus.methods.named import score_named

    if isinstance(score, Score) and SCORES[score].needs != Needs.NOTHING and task is None:
        raise ConfigError(f"The score {score} looks at training samples: give --data.")
    return score_named(str(score), task, seed)


def compensation_function(
    compensation: Compensation | None, seed: int, task: Task | None
) -> Compensate | None:
    """The compensation as a function of a model and a plan; None stands for refitting where there are
    samples, and nothing else.

    Raises:
        ConfigError: it looks at data, and there are none.
    """
    from prunus.methods.named import compensation_named

    if compensation in (Compensation.REFIT, Compensation.MEANS) and task is None:
        raise ConfigError(f"The compensation {compensation} looks at training samples: give --data.")
    return compensation_named(compensation.value if compensation else None, task, seed)
