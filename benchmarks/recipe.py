"""How the benchmarks train on CIFAR-10."""

from __future__ import annotations

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
