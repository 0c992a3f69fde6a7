"""What a layer multiplies its weight with, as a matrix: one row per place, one column per input channel and
kernel position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS_PER_COLUMN, LEAST_ROWS = 16, 4096  # of one batch: more places than these say little more
MOST_NUMBERS = 1 << 24  # in rows of inputs that are held at once


def channel_axis(module: nn.Module) -> int:
    """The axis of a layer's input and output along which channels lie."""
    return -1 if isinstance(module, nn.Linear) else 1 - module.weight.dim()  # type: ignore[operator]


def positions(module: nn.Module) -> int:
    """Kernel positions: columns per input channel."""
    return prod(getattr(module, "kernel_size", ()))


def as_matrix(module: nn.Module, weight: Tensor) -> Tensor:
    """A weight as (outputs, input slots, kernel positions), so that rows times it make the outputs."""
    if getattr(module, "transposed", False):
        return weight.flatten(2).flip(2).transpose(0, 1)
    return weight[..., None] if weight.dim() == 2 else weight.flatten(2)


def from_matrix(module: nn.Module, matrix: Tensor, like: Tensor) -> Tensor:
    """The weight that `as_matrix` made a matrix of."""
    if getattr(module, "transposed", False):
        matrix = matrix.transpose(0, 1).flip(2)
    return matrix.reshape(like.shape).to(like)


def rows(
    module: nn.Module, inputs: Tensor, outputs: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Rows of a layer's inputs (rows, channels * kernel positions) and of its outputs (rows, outputs).

    `inputs` and `outputs` hold the wanted channels only. Where there are far more places than columns, some
    are taken by chance.
    """
    found = list(portions(module, inputs, outputs, generator))
    x, y = zip(*found)
    return (torch.cat(x), torch.cat(y)) if len(found) > 1 else found[0]


def _all(count: int) -> slice:
    return slice(None)


def portions(
    module: nn.Module,
    inputs: Tensor,
    outputs: Tensor,
    generator: torch.Generator,
    which: Callable[[int], slice] = _all,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same rows, or `which` of so many, a portion after the other: a long kernel's rows together can take
    more memory than everything else.
    """
    axis = channel_axis(module)
    most = most_rows(inputs.shape[axis] * positions(module))
    if isinstance(module, nn.Linear):
        x, y = inputs.reshape(-1, inputs.shape[-1]), outputs.reshape(-1, outputs.shape[-1])
        picked = _pick(len(x), most, generator, x)
        for some in _split(picked[which(len(picked))], x.shape[1]):
            yield wide(x[some]), wide(y[some])
        return
    if inputs.dim() == -axis:  # one sample without a batch axis
        inputs, outputs = inputs[None], outputs[None]
    shape = (len(outputs), *outputs.shape[2:])
    picked = _pick(prod(shape), most, generator, inputs)
    windows = _windows(module, inputs)
    for some in _split(picked[which(len(picked))], inputs.shape[axis] * positions(module)):
        places = torch.unravel_index(some, shape)
        at: Any = (places[0], slice(None), *places[1:])
        yield wide(windows[at].flatten(1)), wide(outputs[at])


def most_rows(columns: int) -> int:
    """Rows that are taken of one batch."""
    return max(LEAST_ROWS, ROWS_PER_COLUMN * columns)


def _split(picked: Tensor, columns: int) -> tuple[Tensor, ...]:
    """Row numbers, portion by portion; at least one portion."""
    found: tuple[Tensor, ...] = torch.split(picked, max(1, MOST_NUMBERS // max(columns, 1)))
    return found


def _pick(count: int, most: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """All of `count` rows, or `most` of them."""
    picked = torch.arange(count) if count <= most else torch.randint(count, (most,), generator=generator)
    return picked.to(like.device)


def wide(rows: Tensor) -> Tensor:
    """At least single precision: products of rows are summed."""
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


def _windows(module: Any, x: Tensor) -> Tensor:
    """All windows of a convolution's kernel over its input, (batch, channels, *places, *kernel); a view of
    the padded input.
    """
    x, stride = padded(module, x)
    kernel, dilation = module.kernel_size, module.dilation
    for axis in range(len(kernel)):
        x = x.unfold(2 + axis, (kernel[axis] - 1) * dilation[axis] + 1, stride[axis])[..., :: dilation[axis]]
    return x


def padded(module: Any, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """What a convolution's kernel goes over, (batch, channels, *sides), and by which steps."""
    if module.transposed:
        return _spread(module, x), (1,) * len(module.kernel_size)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(x, module._reversed_padding_repeated_twice, mode=mode), module.stride


def _spread(module: Any, x: Tensor) -> Tensor:
    """The input of a transposed convolution as that of the plain convolution with the flipped kernel: zeros
    between pixels and around them.
    """
    sides = [(n - 1) * stride + 1 for n, stride in zip(x.shape[2:], module.stride)]
    spread = x.new_zeros(*x.shape[:2], *sides)
    every: Any = (..., *(slice(None, None, stride) for stride in module.stride))
    spread[every] = x
    around = []
    for kernel, dilation, padding, extra in zip(
        module.kernel_size, module.dilation, module.padding, module.output_padding
    ):
        around.append((dilation * (kernel - 1) - padding, dilation * (kernel - 1) - padding + extra))
    return F.pad(spread, [n for pair in reversed(around) for n in pair])  # a padding beyond the kernel crops
