"""How a model is called with the inputs of a batch, and how many samples these are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.wording import given
from prunus.errors import ConfigError, clause
from prunus.paint.nests import tensors_in


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
    if isinstance(first, (list, tuple)):
        return len(first)
    return max(_lengths(islice(tensors_in(first), 1)), default=1)  # of an object, by its first tensor


def samples_of(inputs: Any, targets: Any) -> int:
    """Samples of a batch: as many as there are targets where these are a tensor, else by the inputs, as those
    of pictures whose boxes are one tensor, which is empty where there are none.
    """
    if isinstance(targets, Tensor) and targets.dim() and len(targets):
        return len(targets)
    return len(inputs) if each_a_sample(inputs, targets) else samples_in(inputs)


def each_a_sample(inputs: Any, targets: Any) -> bool | None:
    """Whether a list or tuple holds samples, such as the pictures of a detector, rather than arguments, each
    of them for all samples; None where the targets do not tell.
    """
    if not isinstance(inputs, (list, tuple)) or not inputs:
        return None
    several = isinstance(targets, (list, tuple))
    of_mappings = several and all(isinstance(one, Mapping) for one in targets)
    counts = {len(targets)} if several else set()
    if not of_mappings:
        counts |= _lengths(tensors_in(targets))
    pictures = of_mappings and all(isinstance(one, Tensor) and one.dim() == 3 for one in inputs)
    alike = several and len(inputs) == len(targets)
    found = _lengths(inputs)
    if len(found) == 1 and found <= counts and not (alike and pictures):
        return False
    return True if alike else None


def _lengths(values: Iterable[Any]) -> set[int]:
    """Of the first axes of tensors."""
    return {len(one) for one in values if isinstance(one, Tensor) and one.dim()}


def not_pair(batch: Any) -> str:
    """What a batch is in place of a pair, and what to do about one that holds all that is needed."""
    several = isinstance(batch, (Mapping, tuple, list)) and len(batch) > 1
    how = (
        ": let the loader's collate_fn make pairs, with several inputs in a tuple or, by name, in a dict"
        if several
        else ""
    )
    return f"not {given(batch)}{how}"


def as_dicts(batch: Any) -> Any:
    """A batch whose mappings of any class, as tokenisers return them, are dictionaries, which torch knows."""
    if isinstance(batch, Mapping) and not isinstance(batch, dict):
        return dict(batch)
    if isinstance(batch, list) or type(batch) is tuple:
        return type(batch)(map(as_dicts, batch))
    return batch


def one_value(error: ValueError) -> bool:
    """Whether it is torch's word that a norm in training was given one value per channel: a batch of one
    sample, behind a pooling over all positions.
    """
    return "more than 1 value per channel" in str(error)


@contextmanager
def explained(model: nn.Module, size: float, whole: Callable[[], Any]) -> Iterator[None]:
    """What a network cannot do with a batch in training, whose images have so much of their sides, is a
    sentence; `whole` gives the same inputs in their own size. Raises ConfigError.
    """
    name = type(model).__name__
    try:
        yield
    except RuntimeError as error:
        if size == 1 or not _takes(model, whole):
            raise
        raise ConfigError(
            f"{name} cannot take images with {size:g} of their sides: leave first_size at 1"
            f" ({clause(error)})."
        ) from error
    except ValueError as error:
        if not one_value(error):
            raise
        raise ConfigError(
            f"A batch of one sample gives a batch norm of {name} one value per channel,"
            " which has no variance to train with: make batches of at least two, and leave out a last one"
            " that is shorter (drop_last=True of a DataLoader)."
        ) from error


def _takes(model: nn.Module, inputs: Callable[[], Any]) -> bool:
    """Whether a model runs on inputs: the size of its images is not what is wrong with what it does not take
    in their own.
    """
    try:
        with torch.no_grad():
            called(model, inputs())
    except (RuntimeError, ValueError):
        return False
    return True
