"""Example inputs of a model, in the shapes in which people have them."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree

from prunus.paint.inputs import Inputs
from prunus.paint.inputs import as_arguments as split

__all__ = ["Inputs", "split", "tensors"]


def tensors(tree: Any) -> list[Tensor]:
    """All tensors of nested tuples, lists and dictionaries, in order."""
    leaves, _ = _pytree.tree_flatten(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
