"""Metrics: what one sample contributes, and how all contributions become points.

A metric is asked for the entries of a batch, one per sample, and keeps them all, so that the samples of two
networks can be compared in pairs and what is said about a loss has a confidence (see
`prunus.planning.tolerance`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from prunus._foundation.arguments import check_fields
from prunus._foundation.confidence import Rows
from prunus._foundation.finite import named_class
from prunus._foundation.wording import given
from prunus.errors import ConfigError, DataError

Batch = tuple[Any, Any]
"""Inputs (a tensor, or a tuple or list of what the model is called with) and targets."""


@runtime_checkable
class Metric(Protocol):
    """How good a model's outputs are."""

    @property
    def name(self) -> str:
        """What it is called."""

    def entries(self, outputs: Any, targets: Any) -> Sequence[Any]:
        """What each sample of a batch contributes, in the order of the batch."""

    def points(self, entries: Sequence[Any]) -> Tensor | Rows:
        """All samples together: the points of each, shape (samples,), where their mean is the metric; else
        `Rows`. Higher is better.
        """


@dataclass(frozen=True)
class ClassFigure:
    """How good a network is at one class.

    Attributes:
        label: of the class.
        value: [percent]; NaN where it cannot be said, because the class is not there.
        there: how many samples, pixels or boxes of it there are.
    """

    label: int
    value: float
    there: int


@runtime_checkable
class ByClass(Protocol):
    """What a metric has besides where it can be told class by class."""

    @property
    def figure(self) -> str:
        """What it is of one class: accuracy, IoU, AP."""

    @property
    def counted(self) -> str:
        """What a class has many of: samples, pixels, boxes."""

    def by_class(self, entries: Sequence[Any]) -> Sequence[ClassFigure]:
        """The figure of every class, over all samples together, in the order of the labels."""


@dataclass(frozen=True)
class Accuracy:
    """100 for every sample whose class has the largest of the logits (batch, classes), 0 for the others;
    targets are class indices (batch,).
    """

    name: str = "top-1 accuracy"
    figure: str = "accuracy"
    counted: str = "samples"

    def entries(self, outputs: Any, targets: Any) -> Sequence[Any]:
        """True and found class of every sample; raises ConfigError where the outputs are no logits of these
        samples.
        """
        if not isinstance(outputs, Tensor) or outputs.dim() != 2:
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ConfigError(
                f"Top-1 accuracy is of logits (batch, classes), not of {shape}: give the task a metric of its"
                " own."
            )
        if not isinstance(targets, Tensor) or targets.shape != outputs.shape[:1]:
            raise ConfigError(
                f"Top-1 accuracy is of class indices in a tensor of shape ({len(outputs)},), one per sample,"
                f" not of {given(targets)}: give the task such targets, or a metric of its own."
            )
        true = targets.tolist()
        _check_classes(true, outputs.shape[1])
        return list(zip(true, named_class(outputs).tolist()))

    def points(self, entries: Sequence[Any]) -> Tensor | Rows:
        """100 or 0 of every sample."""
        true, found = torch.tensor(list(entries)).view(-1, 2).unbind(1)
        return 100.0 * (true == found).double()

    def by_class(self, entries: Sequence[Any]) -> Sequence[ClassFigure]:
        """The share of every class's samples that are right."""
        true, found = torch.tensor(list(entries)).view(-1, 2).unbind(1)
        labels, counts = torch.unique(true, return_counts=True)
        right = [100.0 * float((found[true == label] == label).double().mean()) for label in labels]
        return [ClassFigure(*one) for one in zip(labels.tolist(), right, counts.tolist())]


def _check_classes(labels: Sequence[float], classes: int) -> None:
    """Raises ConfigError for labels that so many logits cannot tell apart: every one would count as wrong."""
    wrong = next((label for label in labels if not 0 <= label < classes or label != int(label)), None)
    if wrong is None:
        return
    if wrong < 0:
        raise ConfigError(
            f"Top-1 accuracy is of class indices from 0 on, not {wrong}: leave samples without a class out,"
            " or give the task a metric of its own."
        )
    raise ConfigError(
        f"Top-1 accuracy of {classes} outputs is of class indices from 0 to {classes - 1}, not {wrong}: let"
        " labels begin at 0, let the network have an output for every class, or give the task a metric of its"
        " own."
    )


@dataclass(frozen=True)
class Mean:
    """The mean of a number per sample.

    Attributes:
        function: (outputs, targets) -> points of every sample, shape (batch,), higher is better.
        name: what the numbers are.
    """

    function: Callable[[Any, Any], Tensor]
    name: str = "metric"

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)

    def entries(self, outputs: Any, targets: Any) -> Sequence[Any]:
        """Raises ConfigError where the function gives something else than a number per sample."""
        found = self.function(outputs, targets)
        if not isinstance(found, Tensor) or found.dim() != 1:
            raise ConfigError(
                f"The metric {self.name} must give one number per sample, a tensor of shape (batch,), not"
                f" {given(found)}; a metric that is no mean of those is an object with entries() and"
                " points()."
            )
        if isinstance(outputs, Tensor) and outputs.dim() and len(found) != len(outputs):
            raise ConfigError(
                f"The metric {self.name} gave {len(found)} numbers for {len(outputs)} samples: it must give"
                " one per sample, a tensor of shape (batch,), for what is said with a confidence counts"
                " samples."
            )
        values: list[float] = found.double().tolist()
        return values

    def points(self, entries: Sequence[Any]) -> Tensor | Rows:
        """The number of every sample."""
        return torch.tensor(entries, dtype=torch.float64)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Minus the mean squared error of every sample: a metric of regression, higher is
    better, shape (batch,).
    """
    numbers = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
    if not numbers or outputs.shape != targets.shape or not outputs.dim():
        raise ConfigError(
            f"A squared error is of outputs and targets of one shape (batch, …), not of {given(outputs)} and"
            f" {given(targets)}."
        )
    return (
        -(outputs - targets).square().flatten(1).mean(1)
        if outputs.dim() > 1
        else -(outputs - targets).square()
    )


def in_percent(metric: Metric) -> bool:
    """Whether its numbers are percents: those of prunus' own metrics, and of those told class by class. The
    unit of a function of the user's is the user's.
    """
    return isinstance(metric, ByClass) or bool(getattr(metric, "percent", False))


def as_metric(metric: Any) -> Metric:
    """A metric from what a user gave: one of these classes, an object like them, or a function (outputs,
    targets) -> (batch,).
    """
    if isinstance(metric, Metric) and not isinstance(metric, type):
        return metric
    if callable(metric) and not isinstance(metric, type):
        name = getattr(metric, "__name__", "<lambda>")
        return Mean(metric, "metric" if name == "<lambda>" else name.replace("_", " "))
    raise ConfigError(
        "A metric is a function (outputs, targets) -> points of every sample, or an object with entries()"
        f" and points(), not {given(metric)}{'; make one of it first' if isinstance(metric, type) else ''}."
    )


def collected(metric: Metric, pairs: Iterable[Batch]) -> list[Any]:
    """What each of all samples contributes, from outputs and targets batch by batch. Raises DataError where
    there are none, ConfigError for a metric that gives something else.
    """
    entries: list[Any] = []
    for outputs, targets in pairs:
        found = metric.entries(outputs, targets)
        if isinstance(found, (str, Mapping)) or not isinstance(found, Iterable):
            raise ConfigError(
                f"The metric {metric.name} must give a list of what each sample of a batch contributes, not"
                f" {given(found)}."
            )
        entries.extend(found)
    if not entries:
        raise DataError("There are no samples to measure on.")
    return entries
