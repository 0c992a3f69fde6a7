"""Tasks: what a network is for. Samples, a loss and a metric, built in or the user's own."""

from __future__ import annotations

from prunus.tasks.arrays import npz_task
from prunus.tasks.batches import Batches
from prunus.tasks.detection import MeanAveragePrecision
from prunus.tasks.metrics import Accuracy, ByClass, ClassFigure, Mean, Metric, squared_error
from prunus.tasks.own import limited, named_task
from prunus.tasks.regression import Regression
from prunus.tasks.samples import Samples
from prunus.tasks.segmentation import MeanIoU
from prunus.tasks.task import Task

__all__ = [
    "Accuracy",
    "Batches",
    "ByClass",
    "ClassFigure",
    "Mean",
    "MeanAveragePrecision",
    "MeanIoU",
    "Metric",
    "Regression",
    "Samples",
    "Task",
    "limited",
    "named_task",
    "npz_task",
    "squared_error",
]
