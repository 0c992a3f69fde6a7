"""The schedules of history-based pruning (HBFP) for VGG-16 and the CIFAR ResNets, as in the authors' code,
for `prunus.methods.history`.

Basha et al. 2024, arXiv 2102.00160. Where our trainer has no such thing, our choice is named below: the
learning rate of VGG-16 halves every 20 epochs there and falls along a cosine here; images are shifted and
mirrored, and not rotated. The ResNets are those with projection shortcuts
(`models.resnet56(shortcut="projection")`), in which every stage has a width of its own; with option A the
stages are one group of coupled channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from prunus._foundation.arguments import door
from prunus.errors import ConfigError
from prunus.methods.history import Round
from prunus.training import TrainConfig

RESNET_ROUND: Mapping[str, float] = {
    "layer1.*": 2,
    "layer2.*": 4,
    "layer3.*": 8,
}  # filters that every convolution of a stage loses


@dataclass(frozen=True)
class Schedule:
    """What `history_pruning` needs besides a network and samples: its arguments `training`, `rounds` and
    `tolerance`.
    """

    training: TrainConfig
    rounds: tuple[Round, ...]
    tolerance: float


@door()
def vgg16(rounds: int = 9, length: float = 1.0, seed: int = 0) -> Schedule:
    """A tenth of every layer goes in each round: 80.0 % of the MACs in 8 rounds, 83.6 % in 9 (published:
    83.42 %).

    Args:
        rounds: how many at most; the authors go on until the tolerance of 2 points is exceeded.
        length: share of the published epochs (250, then 50 and 150 in each round, from the fifth on 10 and
            200); each training has one at least.
        seed: of everything random.

    Raises:
        ConfigError: a length that is not above 0.
    """
    base = TrainConfig(
        batch_size=128,
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        augment="crop-flip",
        seed=seed,
    )
    later = replace(base, lr=0.01)
    steps = [(50, 150) if number < 4 else (10, 200) for number in range(rounds)]
    return Schedule(
        _long(base, 250, length),
        tuple(Round(0.1, _long(later, pull, length), _long(later, again, length)) for pull, again in steps),
        tolerance=2.0,
    )


@door()
def resnet(rounds: int = 4, length: float = 1.0, seed: int = 0) -> Schedule:
    """Every convolution of the three stages loses 2, 4 and 8 filters in each round: widths of 8-16-32 after 4
    rounds, 75 % of the MACs.

    Args:
        rounds: how many at most; the tolerance is 2 points.
        length: share of the published epochs (200, then 10 and 200 in each round); each training has one at
            least.
        seed: of everything random.

    Raises:
        ConfigError: a length that is not above 0.
    """
    base = TrainConfig(
        batch_size=32,
        lr=1e-3,
        weight_decay=1e-4,
        optimizer="adam",
        schedule="step",
        milestones=(0.4, 0.6, 0.8),
        augment="crop-flip",
        seed=seed,
    )
    one = Round(
        0.0, replace(_long(base, 10, length), schedule="constant"), _long(base, 200, length), RESNET_ROUND
    )
    return Schedule(_long(base, 200, length), (one,) * rounds, tolerance=2.0)


def _long(config: TrainConfig, epochs: int, length: float) -> TrainConfig:
    """So long a training."""
    if not length > 0:
        raise ConfigError(f"The length of a schedule is a share of the published one above 0, not {length}.")
    return replace(config, epochs=max(1, round(epochs * length)))
