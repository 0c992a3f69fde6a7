"""The losses that a task has of itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prunus._foundation.wording import given
from prunus.errors import ConfigError
from prunus.training.objective import Loss, cross_entropy


def own_losses(outputs: Any, targets: Any) -> Tensor:
    """The sum of the losses that a model returns of itself, one number each or one per sample. Raises
    ConfigError for anything else, such as outputs among them.
    """
    found = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    if not found or not all(isinstance(one, Tensor) for one in found):
        raise ConfigError(
            'With the loss "model" the model returns its losses in training, a tensor or a dictionary of'
            f" them, not {given(outputs)}."
        )
    names = list(outputs) if isinstance(outputs, dict) else ["what it returns"]
    for name, one in zip(names, found):
        if one.dim() > 1:
            raise ConfigError(
                'With the loss "model" the model returns its losses in training, each of them one number or'
                f" one per sample, and {name} has the shape {tuple(one.shape)}: return the losses alone."
            )
    total: Tensor = torch.stack([one.mean() for one in found]).sum()
    return total


def check_loss(loss: Any) -> None:
    """Raises ConfigError for what is no loss of a task, and for a class of losses, of which one is needed."""
    known = loss is None or (isinstance(loss, str) and loss == "model")
    if not known and (not callable(loss) or isinstance(loss, type)):
        raise ConfigError(
            'A loss is a function (outputs, targets) -> losses of the samples, or "model", not'
            f" {given(loss)}{'; make one of it first' if isinstance(loss, type) else ''}."
        )


def smoothed(smoothing: float) -> Loss:
    """Of classes, one loss per sample."""

    def loss(outputs: Any, targets: Any) -> Tensor:
        return cross_entropy(outputs, targets, smoothing, "none")

    return loss
