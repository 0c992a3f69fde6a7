"""Operators that are painted as the simpler ones that they amount to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from prunus.paint.painter import Painter

_UNSQUEEZE, _MUL = torch.ops.aten.unsqueeze.default, torch.ops.aten.mul.Tensor
_SUM = torch.ops.aten.sum.dim_IntList


def trilinear(
    painter: Painter,
    first: Tensor,
    second: Tensor,
    third: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> Tensor:
    """_trilinear, which nn.Bilinear calls: the sum of products of three tensors, each with further axes."""
    product: Tensor | None = None
    for tensor, axes in ((first, expand1), (second, expand2), (third, expand3)):
        for axis in sorted(axes):
            tensor = painter.follow(_UNSQUEEZE, (tensor, axis))
        product = tensor if product is None else painter.follow(_MUL, (product, tensor))
    result: Tensor = painter.follow(_SUM, (product, list(sumdim)))
    return result


EXPANSIONS: dict[Any, Callable[..., Any]] = {torch.ops.aten._trilinear.default: trilinear}

__all__ = ["EXPANSIONS"]
