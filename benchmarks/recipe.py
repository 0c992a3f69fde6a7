"""How the benchmarks train on CIFAR-10."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.environment import precision
from prunus.training import TrainConfig

USUAL_DECAY = 5e-4


def settings(epochs: int, lr: float, seed: int, **changed: Any) -> TrainConfig:
    """The settings of every training, but for those that are changed."""
    usual: dict[str, Any] = {
        "batch_size": 128,
        "weight_decay": USUAL_DECAY,
        "schedule": "onecycle",
        "precision": precision(),
        "channels_last": True,
        "augment": "crop-flip",
    }
    return TrainConfig(epochs=epochs, lr=lr, seed=seed, **usual | changed)


def add_compile(parser: argparse.ArgumentParser) -> None:
    """The option that makes trainings quicker, for machines on which nothing is timed."""
    parser.add_argument(
        "--compile", action="store_true", help="through torch.compile; for rows without times only"
    )


def checked_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of a parser, with that one and --untimed, which it needs."""
    options = parser.parse_args()
    if options.compile and not options.untimed:
        parser.error("--compile needs --untimed: rows with times are compared with rows without it.")
    return options
