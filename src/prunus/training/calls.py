"""How a model is called with the inputs of a batch, and how many samples these are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def called(model: nn.Module, inputs: Any) -> Any:
    """What a model makes of inputs: those in a tuple or list are its arguments, those in a dictionary its
    arguments by name, as in tracing; anything else is the one argument.
    """
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def samples_in(inputs: Any) -> int:
    """Samples of the inputs of a batch: of the first argument, or of the first named one."""
    if isinstance(inputs, Mapping):
        first = next(iter(inputs.values()), None)
    else:
        first = inputs[0] if isinstance(inputs, (tuple, list)) and inputs else inputs
    if isinstance(first, Tensor):
        return first.shape[0] if first.dim() else 1
    return len(first) if isinstance(first, (list, tuple)) else 1


def samples_of(inputs: Any, targets: Any) -> int:
    """Samples of a batch: as many as there are targets where these are a tensor, else by the inputs."""
    return len(targets) if isinstance(targets, Tensor) and targets.dim() else samples_in(inputs)


def one_value(error: ValueError) -> bool:
    """Whether it is torch's word that a norm in training was given one value per channel: a batch of one
    sample, behind a pooling over all positions.
    """
    return "more than 1 value per channel" in str(error)
