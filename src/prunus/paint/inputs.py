"""What models are called with: nests of tensors that a trace can follow."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.wording import given, without_values
from prunus.errors import ArgumentError, PrunusError
from prunus.paint.nests import map_tensors, read_once, tensors_in
from prunus.paint.users_lines import deepest_line

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]
_PLAIN = (Tensor, nn.Parameter)


def as_arguments(example_inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments from what the user gave as inputs; tensors made in inference mode are
    copied, so that they can be used, and those of a class of their own are plain ones.

    Raises ArgumentError for what no model is called with, for inputs without samples, which tell nothing, and
    for what cannot be followed: tensors that are no plain arrays, and iterators.
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
    _refuse_unreadable(example_inputs)
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
    if any(type(tensor) not in _PLAIN for tensor in tensors_in(example_inputs)):
        example_inputs = map_tensors(example_inputs, _plain)
    if isinstance(example_inputs, dict):
        return (), dict(example_inputs)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(example_inputs), {}
    return (example_inputs,), {}


def _refuse_unreadable(inputs: Inputs) -> None:
    """Raises ArgumentError for a part of inputs that cannot be run on meta tensors, or not more than once."""
    once = read_once(inputs)
    if once is not None:
        raise ArgumentError(
            f"The inputs hold {given(once)}, which can be read only once, and the model runs several times;"
            " give a list."
        )
    for tensor in tensors_in(inputs):
        kind = _no_array(tensor)
        if kind:
            raise ArgumentError(
                f"The inputs hold a {kind} tensor, whose channels cannot be followed; give a plain one,"
                " padded where it has to be."
            )


def _no_array(tensor: Tensor) -> str:
    """What a tensor is that is no plain array, "" if it is one; those of its own class are, as long as
    nothing but Python's functions tells them from others.
    """
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_mkldnn:
        return "MKL-DNN"
    if type(tensor) not in _PLAIN and type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return type(tensor).__name__
    return ""


def _plain(tensor: Tensor) -> Tensor:
    return tensor if type(tensor) in _PLAIN else tensor.as_subclass(Tensor)


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
        raise kind(without_values(model) or _failed(model, args, kwargs, error)) from error


def _failed(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception) -> str:
    """What to say of a forward that failed, or was called with other arguments than it takes."""
    name, what = type(model).__name__, f"{type(error).__name__}: {first_line(error).rstrip('.')}"
    if isinstance(error, TypeError) and traceback.extract_tb(error.__traceback__)[-1].name == "_call_impl":
        return (
            f"{name} takes other arguments than it is given ({what}); give several inputs in a tuple, or by"
            " name in a dictionary."
        )
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in((args, kwargs))) or "no tensors"
    return (
        f"The forward of {name} fails on inputs of shape {shapes} at {deepest_line(error)} ({what}); give it"
        " inputs like the example's."
    )


def to_meta(value: Any) -> Any:
    """The same nest of containers with meta tensors in it."""
    return map_tensors(value, lambda t: torch.empty_like(t, device="meta", requires_grad=False))


def two_of(tensor: Tensor) -> Tensor:
    """A batch of two instead of one: batch norm needs something to compare."""
    if tensor.dim() < 2 or tensor.shape[0] != 1:
        return tensor
    return torch.cat([tensor, tensor.flip(-1)])


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).strip() or "no message").splitlines()[0]


__all__ = [
    "Arguments",
    "Inputs",
    "as_arguments",
    "called",
    "first_line",
    "map_tensors",
    "tensors_in",
    "to_meta",
    "two_of",
]
