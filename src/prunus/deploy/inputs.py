"""Example inputs of a model, in the shapes in which people have them, and what the exporter wants to know of
them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from prunus.paint.inputs import Inputs
from prunus.paint.inputs import as_arguments as split

__all__ = ["Inputs", "free_batch", "main_shape", "naming", "split", "tensors", "tensors_alone"]


def tensors(tree: Any) -> list[Tensor]:
    """All tensors of nested tuples, lists and dictionaries, in order."""
    leaves, _ = _pytree.tree_flatten(tree)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def main_shape(tree: Any) -> tuple[int, ...] | None:
    """The shape by which inputs are told: of the first tensor that has more than the axis of the samples, and
    is no number beside an image; of the first, if none has; None where there is no tensor.
    """
    shapes = [tuple(int(length) for length in tensor.shape) for tensor in tensors(tree)]
    return next((shape for shape in shapes if len(shape) > 1), shapes[0] if shapes else None)


def free_batch(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A free first axis for every tensor, in the shape that `torch.export` wants: by the names that the
    forward has for its arguments, of which one may stand for many (`*args`).
    """
    batch = torch.export.Dim("batch", min=1)

    def free(leaf: Any) -> Any:
        return {0: batch} if isinstance(leaf, Tensor) and leaf.ndim else None

    bound = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    named: dict[str, Any] = _pytree.tree_map(free, dict(bound))
    return named


@contextmanager
def tensors_alone(model: nn.Module, outputs: Any) -> Iterator[None]:
    """Within, the forward returns tensors and nothing else, where its outputs hold texts and numbers besides,
    which no file can. Objects that nobody looks into are left to the exporter, which refuses them.
    """
    leaves, _ = _pytree.tree_flatten(outputs)
    besides = [leaf for leaf in leaves if leaf is not None and not isinstance(leaf, Tensor)]
    if not besides or not all(isinstance(leaf, (str, bytes, int, float, complex)) for leaf in besides):
        yield
        return
    plain, own = model.forward, vars(model).get("forward")

    def forward(*args: Any, **kwargs: Any) -> Any:
        return tuple(tensors(plain(*args, **kwargs)))

    forward.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]
    with _instead(model, forward, own):
        yield


@contextmanager
def _instead(model: nn.Module, forward: Any, own: Any) -> Iterator[None]:
    """Within, a model has this forward; then `own`, one that was its object's, or that of its class."""
    model.__dict__["forward"] = forward
    try:
        yield
    finally:
        del model.__dict__["forward"]
        if own is not None:
            model.__dict__["forward"] = own


@contextmanager
def naming(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
    """Within, the forward has a name for each of these keyword arguments, where else one stands for many
    (`**kwargs`): torch counts them as one in some places, and as many in others.
    """
    plain, own = model.forward, vars(model).get("forward")
    signature, kinds = inspect.signature(plain), inspect.Parameter
    if signature.bind(*args, **kwargs).arguments.keys() >= kwargs.keys():
        yield
        return

    def forward(*args: Any, **kwargs: Any) -> Any:
        return plain(*args, **kwargs)

    named = [one for one in signature.parameters.values() if one.kind is not kinds.VAR_KEYWORD]
    named += [kinds(name, kinds.KEYWORD_ONLY) for name in kwargs if name not in signature.parameters]
    forward.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
    with _instead(model, forward, own):
        yield
