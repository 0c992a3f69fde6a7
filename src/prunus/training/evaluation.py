"""Accuracy and loss on a whole split, and the small things that every pass over a model needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.finite import named_class
from prunus.data.sets import Split
from prunus.errors import ConfigError, DataError
from prunus.training.calls import called
from prunus.training.feeding import Normalise, batches


@dataclass(frozen=True)
class Evaluation:
    """What a model does on a split.

    Attributes:
        accuracy: top-1, percent.
        loss: mean cross-entropy per sample, natural logarithm.
        count: samples.
    """

    accuracy: float
    loss: float
    count: int


@door(ConfigError)
def evaluate(model: nn.Module, split: Split, normalise: Normalise, batch_size: int = 500) -> Evaluation:
    """Measure a model in evaluation mode, on its own device and in its own precision; the model stays as it
    was.

    Args:
        model: images (batch, C, H, W) to logits (batch, classes).
        split: the samples.
        normalise: (mean, std) of every plane, in units of 0..1.
        batch_size: samples per batch; changes memory and speed only.

    Raises:
        DataError: no samples, or labels beyond the model's classes.
        ConfigError: the model returns something other than logits.
    """
    right, losses = sample_by_sample(model, split, normalise, batch_size)
    return Evaluation(
        100 * int(right.sum()) / len(split), float(losses.sum(dtype=torch.float64)) / len(split), len(split)
    )


@door(ConfigError)
def sample_by_sample(
    model: nn.Module, split: Split, normalise: Normalise, batch_size: int = 500
) -> tuple[Tensor, Tensor]:
    """Which samples are told right, (samples,) bool, and their cross-entropy, (samples,) float32; arguments
    and errors are those of `evaluate`.
    """
    device, dtype = placement(model)
    split = split.to(device)
    highest = highest_label(split)
    right, losses = [], []
    with mode(model, training=False), torch.no_grad():
        for images, labels in batches(split, normalise, batch_size, dtype=dtype):
            logits = logits_of(model, images, highest)
            losses.append(F.cross_entropy(logits.float(), labels, reduction="none"))
            right.append(named_class(logits) == labels)
    return torch.cat(right), torch.cat(losses)


def placement(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and floating-point type of a model's first parameter with a point, else those of a complex one's
    parts; the CPU and float32 if it has neither.
    """
    complex_one: nn.Parameter | None = None
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter.device, parameter.dtype
        if parameter.is_complex() and complex_one is None:
            complex_one = parameter
    if complex_one is not None:
        return complex_one.device, complex_one.dtype.to_real()
    return torch.device("cpu"), torch.float32


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Train or evaluation mode for a while; every module gets back the one that it had."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


def highest_label(split: Split, classes: bool = True) -> int:
    """The highest label of the samples.

    Args:
        split: the samples.
        classes: labels must be class indices. Of one below 0, cross-entropy leaves -100 out in silence, and
            accuracy would count it as wrong.

    Raises:
        DataError: there are no samples, or a label is no class.
    """
    if not len(split):
        raise DataError("The split has no samples.")
    lowest, highest = (int(one) for one in torch.aminmax(split.labels))
    if classes and lowest < 0:
        raise DataError(
            f"Labels are class indices from 0 on, not {lowest}: leave samples without a class out."
        )
    return highest


def logits_of(model: nn.Module, inputs: Any, highest: int) -> Tensor:
    """The model's logits (batch, classes), checked to have a column for the class `highest`."""
    logits = called(model, inputs)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        found = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ConfigError(
            f"{type(model).__name__} must return logits (batch, classes) to be trained here, not {found}."
        )
    if logits.shape[1] <= highest:
        raise DataError(
            f"The labels go up to {highest}, but {type(model).__name__} tells {logits.shape[1]} classes"
            f" apart: build it with num_classes={highest + 1} or more."
        )
    return logits
