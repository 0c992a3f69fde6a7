"""Example inputs of a model, in the three shapes in which people have them."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree

# A tensor, positional arguments, or keyword arguments.
Inputs = Tensor | tuple[Any, ...] | dict[str, Any]


def split(example_inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of the forward pass."""
    if isinstance(example_inputs, dict):
        return (), example_inputs
    return (example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)), {}


def tensors(tree: Any) -> list[Tensor]:
    """All tensors of nested tuples, lists and dictionaries, in order."""
    leaves, _ = _pytree.tree_flatten(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
