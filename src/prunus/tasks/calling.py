"""How networks are called that return their own losses: with samples or arguments, and in training with
targets beside them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from prunus.errors import ConfigError, clause
from prunus.training.calls import called, each_a_sample


def told_apart(inputs: Any, targets: Any) -> Any:
    """Samples, as detectors take pictures of any size, in a list, which is one argument; several arguments in
    a tuple. From loaders both come as either; where nothing tells, they are left as they come.
    """
    if not isinstance(inputs, (list, tuple)):
        return inputs
    samples = each_a_sample(inputs, targets)
    return list(inputs) if samples or (samples is None and isinstance(inputs, list)) else tuple(inputs)


def alone(model: nn.Module, inputs: Any) -> Any:
    """What a model makes of inputs that were told apart, without targets."""
    return model(inputs) if isinstance(inputs, list) else called(model, inputs)


def beside(inputs: Any, targets: Any, model: nn.Module | None = None) -> Any:
    """Inputs that were told apart, and targets, as arguments by place or by name. Raises ConfigError for a
    model that takes no such arguments.
    """
    arguments: Any
    if isinstance(inputs, Mapping):
        arguments = {**inputs, _name(model, inputs): targets}
    else:
        arguments = (*inputs, targets) if isinstance(inputs, tuple) else (inputs, targets)
    if model is not None:
        _check(model, arguments)
    return arguments


def in_one(pictures: list[Any]) -> Any:
    """Pictures as a batch, filled up with zeros below and on the right to one size; other samples as they
    are.
    """
    tensors = [one for one in pictures if isinstance(one, Tensor)]
    kinds = {(one.dim(), one.shape[:1], one.dtype) for one in tensors}
    if len(tensors) < len(pictures) or len(kinds) != 1 or tensors[0].dim() < 2:
        return pictures
    sides = [max(lengths) for lengths in zip(*(one.shape[1:] for one in tensors))]
    whole = tensors[0].new_zeros(len(tensors), len(tensors[0]), *sides)
    for place, one in zip(whole, tensors):
        place[(slice(None), *map(slice, one.shape[1:]))] = one
    return whole


def _check(model: nn.Module, arguments: dict[str, Any] | tuple[Any, ...]) -> None:
    named = isinstance(arguments, dict)
    try:
        taken = inspect.signature(model.forward)
        taken.bind(**arguments) if isinstance(arguments, dict) else taken.bind(*arguments)
    except ValueError:  # built into Python, without a signature
        return
    except TypeError as error:
        what = f"{', '.join(arguments)} by name" if named else f"{len(arguments)} arguments, targets last"
        raise ConfigError(
            f'With the loss "model" {type(model).__name__} is called with its inputs and targets, {what}, and'
            f" its forward does not take them ({clause(error)}): give the task a loss, or such a forward."
        ) from error


def _name(model: nn.Module | None, inputs: Mapping[str, Any]) -> str:
    """The argument that takes the targets: `targets`, or else the first that is not given."""
    usual = "targets"
    if model is None:
        return usual
    try:
        taken = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):  # built into Python, without a signature
        return usual
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    free = [name for name, one in taken.items() if name not in inputs and one.kind not in several]
    return usual if usual in free or not free else free[0]


__all__ = ["alone", "beside", "in_one", "told_apart"]
