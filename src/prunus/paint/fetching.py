"""What is known of constants on meta tensors, where torch would have to see their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from prunus.paint.painter import Operator, Painter

INDEX = torch.ops.aten.index.Tensor


def fetch(
    painter: Painter, operator: Operator, func: Any, args: Any, kwargs: dict[str, Any]
) -> Tensor | None:
    """A constant that is copied to the CPU has its numbers there: `tolist` asks for that, and so does who
    wants an array; so have the places where a constant is not zero, which nothing else counts.
    """
    if func is INDEX:
        return _picked(painter, *args)
    copied = operator.name == "_to_copy" and str(kwargs.get("device")) == "cpu"
    if not (copied or operator.name == "nonzero") or not isinstance(args[0], Tensor):
        return None
    if not args[0].is_meta:
        return None
    value = painter.value_of(args[0])
    if value is None:
        return None
    result: Tensor = func(value, *args[1:], **kwargs)
    if not copied:
        painter.inherit_volatile(args[0], result)
    return result


def _picked(painter: Painter, x: Tensor, indices: Sequence[Tensor | None]) -> Tensor | None:
    """What constant masks pick, of which torch would not know how much that is."""
    values = [None if index is None else painter.value_of(index) for index in indices]
    masks = [value is not None and value.dtype == torch.bool for value in values]
    if not x.is_meta or not any(masks):
        return None
    places: list[Tensor | None] = []
    for index, value, mask in zip(indices, values, masks):
        places += (
            [one.to("meta") for one in value.nonzero().unbind(1)] if mask and value is not None else [index]
        )
    result: Tensor = INDEX(x, places)
    return result


__all__ = ["INDEX", "fetch"]
