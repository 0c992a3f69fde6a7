"""A parameter or buffer of the traced model, and the colours of its slots."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.paint.canvas import Canvas
from prunus.paint.model_copy import Modules, tensors_in_modules
from prunus.paint.records import ANCHOR, Labels, Stripe, constant

UNPAINTED = -1
Neutral = tuple[str, int]  # a parameter or buffer, and one of its axes


class Source(NamedTuple):
    """One parameter or buffer: `tensor` is its meta twin, `starts[axis]` the first colour of an axis (the
    others follow), or `UNPAINTED`.

    `neutral` is what removed slots along each axis hold in the masked network.
    """

    name: str
    tensor: Tensor
    is_parameter: bool
    starts: tuple[int, ...]
    neutral: tuple[float, ...] = ()

    @property
    def is_real(self) -> bool:
        """Whether it holds numbers that can be set to another, not indices or flags."""
        return self.tensor.dtype.is_floating_point or self.tensor.dtype.is_complex

    def part(self, of: NDArray[Any], axis: int) -> NDArray[Any]:
        """The entries of one axis in an array over all colours, shape (size,)."""
        start, size = self.starts[axis], self.tensor.shape[axis]
        return of[start : start + size] if start != UNPAINTED else of[:1].repeat(size)

    def colours(self, axis: int) -> Labels:
        """The colours along one axis, shape (size,)."""
        start, size = self.starts[axis], self.tensor.shape[axis]
        return np.arange(start, start + size, dtype=np.int64) if start != UNPAINTED else np.full(size, ANCHOR)


def colours_of(sources: Sequence[Source]) -> int:
    """The first colour that belongs to none of these; theirs are the first ones, without gaps."""
    ends = [
        start + size
        for source in sources
        for start, size in zip(source.starts, source.tensor.shape)
        if start != UNPAINTED
    ]
    return max(ends, default=ANCHOR + 1)


def paint_sources(canvas: Canvas, modules: Modules, neutral: Collection[Neutral] = ()) -> tuple[Source, ...]:
    """Give every slot of every axis of every parameter and buffer its own colour; kernel positions of
    convolutions can never go and need none.

    The first colours are theirs, without gaps. Removed slots hold zero, along axes in `neutral` one, and
    whole numbers, which may be indices, what they held.
    """
    parameters = {id(p) for m in modules.values() for p in m._parameters.values()}
    kernels = {
        id(p)
        for m in modules.values()
        if isinstance(m, nn.modules.conv._ConvNd)
        for p in _own(m)
        if p.dim() > 2
    }
    sources = []
    for name, tensor in tensors_in_modules(modules).items():
        is_parameter, painted = (
            id(tensor) in parameters,
            2 if id(tensor) in kernels else tensor.dim() if tensor.numel() else 0,
        )
        starts, stripes, values = (
            [],
            [],
            tuple([float((name, axis) in neutral) for axis in range(tensor.dim())]),
        )
        real = tensor.dtype.is_floating_point or tensor.dtype.is_complex
        for axis, size in enumerate(tensor.shape[:painted]):
            starts.append(canvas.next_colour)
            labels = canvas.fresh(size)
            stripes.append(Stripe(axis, labels, constant(values[axis] if real else math.nan, size)))
        canvas.set_paint(tensor, tuple(stripes))
        canvas.fix(tensor)
        sources.append(
            Source(name, tensor, is_parameter, (*starts, *[UNPAINTED] * (tensor.dim() - len(starts))), values)
        )
        if isinstance(modules[name.rpartition(".")[0]], torch.jit.ScriptModule):
            for stripe in stripes:  # no other tensors can be put into it
                canvas.pin(stripe.labels, "TorchScript cannot be followed", "")
    canvas.owned = canvas.next_colour
    return tuple(sources)


def _own(layer: nn.Module) -> Iterator[Tensor]:
    """A layer's parameters, and those that its weight is made of."""
    made = layer._modules.get("parametrizations")
    for module in (layer, *(made._modules.values() if made is not None else ())):
        yield from (p for p in module._parameters.values() if p is not None)
