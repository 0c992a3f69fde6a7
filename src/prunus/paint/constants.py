"""Constants of removed channels that depend on the size of the inputs: what a forward adds of `x.shape` is
another number elsewhere.

Such a constant goes into no bias, where it would be that of the example for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunus.errors import ArgumentError, TraceError
from prunus.paint.canvas import Canvas
from prunus.paint.records import Leak

_WIDER = 32  # pixels; images of many networks must be multiples of it


def keep_sizes_out(canvas: Canvas, painted: Callable[[Callable[[Tensor], Tensor]], Canvas]) -> None:
    """Let no constant go into a bias that is another one in a larger batch or on larger images, in place.

    `painted` gives the canvas of a forward on inputs that were changed so; it raises TraceError where the
    model does not take them.
    """
    if not any(map(_is_constant, canvas.leaks)):
        return
    for change in (_one_more, _larger):
        try:
            other = painted(change)
        except (TraceError, ArgumentError):
            continue
        canvas.leaks[:] = [
            leak if same else leak._replace(foldable=False)
            for leak, same in zip(canvas.leaks, _alike(canvas, other))
        ]


def _is_constant(leak: Leak) -> bool:
    return leak.foldable and bool(np.isfinite(leak.dead).all()) and bool(leak.dead.any())


def _alike(canvas: Canvas, other: Canvas) -> Iterator[bool]:
    """For every leak of the first, whether the other has the same; all unlike where they are not the same
    ones in number.
    """
    return (
        map(_same, canvas.leaks, other.leaks)
        if len(canvas.leaks) == len(other.leaks)
        else iter([False] * len(canvas.leaks))
    )


def _same(first: Leak, second: Leak) -> bool:
    return not _is_constant(first) or np.array_equal(first.dead, second.dead)


def _one_more(tensor: Tensor) -> Tensor:
    return _of_shape(tensor, [tensor.shape[0] + 1, *tensor.shape[1:]] if tensor.dim() > 1 else tensor.shape)


def _larger(tensor: Tensor) -> Tensor:
    return _of_shape(tensor, [n + _WIDER if axis >= 2 else n for axis, n in enumerate(tensor.shape)])


def _of_shape(tensor: Tensor, shape: Sequence[Any]) -> Tensor:
    return torch.empty(shape, dtype=tensor.dtype, device="meta")


__all__ = ["keep_sizes_out"]
