"""What models are called with and what they return: nests of tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.wording import given
from prunus.errors import ArgumentError, PrunusError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]


def as_arguments(example_inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments from what the user gave as inputs; tensors made in inference mode are
    copied, so that they can be used.

    Raises ArgumentError for what no model is called with, and for inputs without samples, which tell nothing.
    """
    if (
        isinstance(example_inputs, (tuple, list))
        and example_inputs
        and all(type(size) is int for size in example_inputs)
    ):
        shape = ", ".join(map(str, example_inputs))
        raise ArgumentError(
            f"The inputs are a shape, ({shape}), not tensors; give a tensor, such as torch.zeros({shape})."
        )
    if isinstance(example_inputs, Mapping) and not isinstance(example_inputs, dict):
        example_inputs = dict(example_inputs)
    if not isinstance(example_inputs, (Tensor, tuple, list, dict)):
        raise ArgumentError(
            "The inputs must be a tensor, a tuple of arguments or a dict of named ones, not"
            f" {given(example_inputs)}."
        )
    shapes = [tuple(tensor.shape) for tensor in tensors_in(example_inputs) if tensor.dim()]
    if shapes and not any(shape[0] for shape in shapes):
        raise ArgumentError(
            f"The inputs hold no samples: their shape is {', '.join(map(str, shapes))}; give one at least."
        )
    if not torch.is_inference_mode_enabled() and any(
        tensor.is_inference() for tensor in tensors_in(example_inputs)
    ):
        example_inputs = map_tensors(
            example_inputs, lambda tensor: tensor.clone() if tensor.is_inference() else tensor
        )
    if isinstance(example_inputs, dict):
        return (), dict(example_inputs)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(example_inputs), {}
    return (example_inputs,), {}


def called(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    kind: type[PrunusError] = ArgumentError,
) -> Any:
    """What a model makes of inputs; raises an error of `kind` in which the model's own is told, where its
    forward fails on them.
    """
    try:
        return model(*args, **kwargs)
    except PrunusError:
        raise
    except Exception as error:  # any forward may fail in any way
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in((args, kwargs))) or "no tensors"
        what = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
        raise kind(
            f"The forward of {type(model).__name__} fails on inputs of shape {shapes} ({what}); give it"
            " inputs like the example's."
        ) from error


def to_meta(value: Any) -> Any:
    """The same nest of containers with meta tensors in it."""
    return map_tensors(value, lambda t: torch.empty_like(t, device="meta", requires_grad=False))


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Replace every tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return type(value)((k, map_tensors(v, change)) for k, v in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(v, change) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(v, change) for v in value)
    return value


def two_of(tensor: Tensor) -> Tensor:
    """A batch of two instead of one: batch norm needs something to compare."""
    if tensor.dim() < 2 or tensor.shape[0] != 1:
        return tensor
    return torch.cat([tensor, tensor.flip(-1)])


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers, dataclasses and output objects, in a fixed order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))
    elif (
        hasattr(value, "__dict__") and not isinstance(value, (type, torch.nn.Module)) and not callable(value)
    ):
        yield from tensors_in(vars(value))


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or "no message").splitlines()[0]
