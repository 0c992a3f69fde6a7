"""Training on whole sets in memory: the loop, evaluation, batch-norm recalibration."""

from __future__ import annotations

from prunus.training.config import TrainConfig
from prunus.training.evaluation import Evaluation, evaluate
from prunus.training.feeding import Normalise, augmented, batches
from prunus.training.loop import EpochRecord, History, train
from prunus.training.recalibration import recalibrate

__all__ = [
    "EpochRecord",
    "Evaluation",
    "History",
    "Normalise",
    "TrainConfig",
    "augmented",
    "batches",
    "evaluate",
    "recalibrate",
    "train",
]
