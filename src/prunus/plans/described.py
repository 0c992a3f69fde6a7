"""What a model is called with, as text: shapes and types of example inputs, so that a stored plan can trace
its model again.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from prunus._foundation.sizes import MOST_ELEMENTS
from prunus._foundation.wording import dtype_name
from prunus.errors import PlanError, clause


def describe_if_possible(inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> str:
    """Example inputs of unusual types make a plan that cannot be read back without a graph, but it is still a
    plan.
    """
    try:
        return describe_inputs(inputs)
    except PlanError:
        return ""


def describe_inputs(inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> str:
    """Shapes and dtypes of example inputs as JSON text, so that a stored plan can trace its model again."""
    _check_sizes(inputs)
    return json.dumps(_describe(inputs))


def rebuild_inputs(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Meta tensors from `describe_inputs`; raises PlanError where the inputs could not be described."""
    if not text:
        raise PlanError(
            "The plan does not say what its model is called with; attach it with"
            " plan.attach(prunus.trace(model, example_inputs))."
        )
    try:
        args, kwargs = _rebuild(json.loads(text))
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:  # RecursionError is a RuntimeError
        raise PlanError(f"What the model is called with cannot be read ({clause(error)}).") from error
    _check_sizes((args, kwargs))
    return args, kwargs


def _check_sizes(inputs: Any) -> None:
    """What a plan says is what its model is called with, so there is a limit to it."""
    count = sum(tensor.numel() for tensor in tree_leaves(inputs) if isinstance(tensor, Tensor))
    if count > MOST_ELEMENTS:
        raise PlanError(
            f"A model cannot be called with {count:,} numbers because a plan says so: it may say"
            f" {MOST_ELEMENTS:,} at most."
        )


def _describe(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"tensor": [list(value.shape), dtype_name(value.dtype)]}
    if isinstance(value, dict):
        return {"dict": [[k, _describe(v)] for k, v in value.items()]}
    named = isinstance(value, tuple) and hasattr(value, "_fields")  # which no file may make
    if isinstance(value, (tuple, list)) and not named:
        return {"tuple" if isinstance(value, tuple) else "list": [_describe(v) for v in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise PlanError(
        f"An example input of type {type(value).__name__} cannot be written into a plan; use tensors,"
        " numbers, strings and containers."
    )


def _rebuild(node: Any) -> Any:
    ((kind, content),) = node.items()
    if kind == "tensor":
        shape, name = content
        dtype = vars(torch).get(name) if isinstance(name, str) else None
        if not isinstance(dtype, torch.dtype) or not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
            raise PlanError(
                f"An example input is said to be of shape {shape!r} and type {name!r}, which no tensor has."
            )
        return torch.empty(shape, dtype=dtype, device="meta")
    if kind == "dict":
        return {k: _rebuild(v) for k, v in content}
    if kind in ("tuple", "list"):
        items = [_rebuild(v) for v in content]
        return tuple(items) if kind == "tuple" else items
    return content
