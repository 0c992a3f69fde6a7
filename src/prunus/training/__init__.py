"""Training on whole sets in memory or on any batches: the loop, evaluation, batch-norm recalibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunus._foundation.lazy import names_of

if TYPE_CHECKING:
    from prunus.training.calibration import Calibration
    from prunus.training.config import TrainConfig
    from prunus.training.distillation import Taught, taught
    from prunus.training.evaluation import Evaluation, evaluate
    from prunus.training.feeding import Normalise, Shuffled, augmented, batches
    from prunus.training.hooks import Curriculum, Pruning
    from prunus.training.loop import train
    from prunus.training.progress import EpochRecord, History
    from prunus.training.recalibration import recalibrate, recalibrate_if_better
    from prunus.training.trackers import MLflow, TensorBoard, Tracker, WandB, track

__all__ = [
    "Calibration",
    "Curriculum",
    "EpochRecord",
    "Evaluation",
    "History",
    "MLflow",
    "Normalise",
    "Pruning",
    "Shuffled",
    "Taught",
    "TensorBoard",
    "Tracker",
    "TrainConfig",
    "WandB",
    "augmented",
    "batches",
    "evaluate",
    "recalibrate",
    "recalibrate_if_better",
    "taught",
    "track",
    "train",
]

# The settings are read where torch is not needed, such as in `prunus --help`, so the rest is looked up when
# first used.
__getattr__ = names_of(
    __name__,
    {
        "Calibration": "calibration",
        "Curriculum": "hooks",
        "EpochRecord": "progress",
        "Evaluation": "evaluation",
        "History": "progress",
        "MLflow": "trackers",
        "Normalise": "feeding",
        "Pruning": "hooks",
        "Shuffled": "feeding",
        "Taught": "distillation",
        "TensorBoard": "trackers",
        "Tracker": "trackers",
        "TrainConfig": "config",
        "WandB": "trackers",
        "augmented": "feeding",
        "batches": "feeding",
        "evaluate": "evaluation",
        "recalibrate": "recalibration",
        "recalibrate_if_better": "recalibration",
        "taught": "distillation",
        "track": "trackers",
        "train": "loop",
    },
)
