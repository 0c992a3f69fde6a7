"""What the options may be: the one place where names that users type become functions of the library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from prunus.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from prunus.channels import ChannelGraph
    from prunus.methods.one_shot import Material

SCORING_SAMPLES = 1024
SCORING_BATCH = 128


class Scope(StrEnum):
    """Where scores are compared."""

    UNIFORM = "uniform"
    GLOBAL = "global"


class Prefer(StrEnum):
    """Which kind of compact module."""

    AUTO = "auto"
    EAGER = "eager"


class Score(StrEnum):
    """Names of the scores."""

    NORM_L1 = "norm-l1"
    NORM_L2 = "norm-l2"
    BN_SCALE = "bn-scale"
    GEOMETRIC_MEDIAN = "geometric-median"
    TAYLOR = "taylor"
    ACTIVATION_MEAN = "activation-mean"
    RANDOM = "random"


@dataclass(frozen=True)
class About:
    """What a score is, where it comes from, and whether it looks at data."""

    summary: str
    paper: str
    needs_data: bool = False


SCORES: dict[Score, About] = {
    Score.NORM_L1: About("sum of the absolute weights of a channel", "Li et al. 2017, arXiv 1608.08710"),
    Score.NORM_L2: About("Euclidean norm of the weights of a channel", "He et al. 2018, arXiv 1808.06866"),
    Score.BN_SCALE: About("absolute batch-norm scale of a channel", "Liu et al. 2017, arXiv 1708.06519"),
    Score.GEOMETRIC_MEDIAN: About("distance to the other channels of the layer", "He et al. 2019, arXiv 1811.00250"),
    Score.TAYLOR: About("change of the loss to first order", "Molchanov et al. 2019, arXiv 1906.10771", True),
    Score.ACTIVATION_MEAN: About("mean activation of a channel", "Molchanov et al. 2017, arXiv 1611.06440", True),
    Score.RANDOM: About("a random number: the control of every comparison", "–"),
}


def score_function(score: Score, seed: int, material: Material | None) -> Callable[[ChannelGraph], Tensor]:
    """The score as a function of a graph.

    Raises:
        ConfigError: it looks at data, and there are none.
    """
    if SCORES[score].needs_data and material is None:
        raise ConfigError(f"The score {score} looks at training samples: give --data.")

    def batches() -> list[tuple[Tensor, Tensor]]:
        import torch

        from prunus.training import batches

        assert material is not None
        order = torch.randperm(len(material.train), generator=torch.Generator().manual_seed(seed))
        part = material.train.subset(order[:SCORING_SAMPLES])
        return list(batches(part, material.normalise, SCORING_BATCH))

    def scored(graph: ChannelGraph) -> Tensor:
        from torch.nn.functional import cross_entropy

        from prunus import scores

        match score:
            case Score.NORM_L1:
                return scores.norm(graph, p=1)
            case Score.NORM_L2:
                return scores.norm(graph, p=2)
            case Score.BN_SCALE:
                return scores.bn_scale(graph)
            case Score.GEOMETRIC_MEDIAN:
                return scores.geometric_median(graph)
            case Score.TAYLOR:
                return scores.taylor(graph, batches(), cross_entropy)
            case Score.ACTIVATION_MEAN:
                return scores.activation_mean(graph, batches())
            case Score.RANDOM:
                return scores.random(graph, seed=seed)

    return scored
