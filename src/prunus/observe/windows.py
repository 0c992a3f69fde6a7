"""Second moments of all windows of a convolution, without the windows.

What two kernel positions k and k' see are two shifted copies of one map, so the sum of their products over
all places depends on little but the shift d = k' - k:

    sum over places t of x[t + k] x'[t + k + d] = sum over s in k + places of x[s] x'[s + d],

and the regions k + places of one shift are the same but for their borders. So one product of the maps with
their shifted copies serves all pairs of positions with that shift, and the borders are added one by one: for
a kernel of K positions about K products in place of K^2, over every place there is.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunus.observe.matrices import channel_axis, most_rows, padded, positions, wide

_OVERHEAD = 1 << 21  # multiplications that could be done while one small product is set up
_NARROW = 16  # products of fewer channels take as long as of so many


@dataclass(frozen=True, eq=False)
class WindowSums:
    """Sums over all windows, in float64.

    Attributes:
        count: windows.
        inputs: their sum, (channels * kernel positions,).
        products: of inputs with inputs, (columns, columns).
        outputs: the sum of the layer's outputs, (outputs,).
        crossed: of outputs with inputs, (outputs, columns).
    """

    count: int
    inputs: Tensor
    products: Tensor
    outputs: Tensor
    crossed: Tensor


def cheaper(module: nn.Module, inputs: Tensor, outputs: Tensor) -> bool:
    """Whether sums by shifts take less time than products of the rows that `portions` gives.

    Args:
        module: the layer.
        inputs: of a batch, the wanted channels only.
        outputs: likewise.
    """
    if isinstance(module, nn.Linear) or inputs.dim() != 1 - channel_axis(module):
        return False
    layer: Any = module
    kernel, dilation, places = layer.kernel_size, layer.dilation, outputs.shape[2:]
    stride = (1,) if layer.transposed else layer.stride
    if set(stride) != {1} or any((k - 1) * d > o for k, d, o in zip(kernel, dilation, places)):
        return False
    channels, columns = inputs.shape[1], inputs.shape[1] * positions(module)
    shifts = (math.prod(2 * k - 1 for k in kernel) + 1) // 2
    reach = math.prod(o + (k - 1) * d for k, d, o in zip(kernel, dilation, places)) * len(inputs)
    by_shifts = shifts * (max(channels, _NARROW) ** 2 * reach + 3 ** len(kernel) * _OVERHEAD)
    by_rows = min(outputs[:, :1].numel(), most_rows(columns)) * columns**2
    return bool(2 * by_shifts < by_rows)  # rows are multiplied at a higher speed


def window_sums(module: nn.Module, inputs: Tensor, outputs: Tensor) -> WindowSums:
    """The sums over all windows of one batch.

    Args:
        module: a convolution for which `cheaper` holds.
        inputs: of a batch (batch, channels, *sides), the wanted channels only.
        outputs: likewise.
    """
    layer: Any = module
    kernel, dilation, places = layer.kernel_size, layer.dilation, tuple(outputs.shape[2:])
    x, y = wide(padded(layer, inputs)[0]), wide(outputs)
    maps = x.movedim(0, -1).contiguous()  # (channels, *sides, batch)
    made = y.movedim(0, -1).contiguous()
    channels = len(maps)
    found = torch.zeros(*kernel, *kernel, channels, channels, dtype=torch.float64)
    for shift in _shifts(kernel):
        _put(found, shift, _of_shift(maps, shift, kernel, dilation, places), kernel)
    sums, crossed, total = [], [], maps.sum(-1, dtype=torch.float64).cpu()
    for position in itertools.product(*map(range, kernel)):
        at: Any = (
            slice(None),
            *(slice(p * d, p * d + o) for p, d, o in zip(position, dilation, places)),
        )
        sums.append(total[at].flatten(1).sum(1))
        crossed.append((made.flatten(1) @ maps[at].flatten(1).T).double().cpu())
    columns = channels * positions(module)
    return WindowSums(
        count=outputs[:, :1].numel(),
        inputs=torch.stack(sums, 1).flatten(),
        products=found.view(columns // channels, -1, channels, channels)
        .permute(2, 0, 3, 1)
        .reshape(columns, columns),
        outputs=made.flatten(1).sum(1, dtype=torch.float64).cpu(),
        crossed=torch.stack(crossed, 2).flatten(1),
    )


def _shifts(kernel: tuple[int, ...]) -> list[tuple[int, ...]]:
    """One of every shift and its opposite."""
    every = itertools.product(*(range(1 - k, k) for k in kernel))
    return [shift for shift in every if shift >= (0,) * len(kernel)]


def _of_shift(
    maps: Tensor,
    shift: tuple[int, ...],
    kernel: tuple[int, ...],
    dilation: tuple[int, ...],
    places: tuple[int, ...],
) -> Tensor:
    """For every position that has a partner at this shift, the sum over places of the products of the maps
    there and of those at the partner, (*positions, channels, channels).
    """
    axes = []
    here: list[slice] = [slice(None)]
    there: list[slice] = [slice(None)]
    for d, k, step, size in zip(shift, kernel, dilation, places):
        count = k - abs(d)
        first, length = max(0, -d) * step, size + (count - 1) * step
        here.append(slice(first, first + length))
        there.append(slice(first + d * step, first + d * step + length))
        axes.append((count, step, size))
    a, b = maps[tuple(here)], maps[tuple(there)]
    return _regions(a[None], b[None], axes)[0]


def _regions(a: Tensor, b: Tensor, axes: list[tuple[int, int, int]]) -> Tensor:
    """Sums of products over regions that start a step later each.

    Args:
        a: (parts, channels, *sides, batch).
        b: the same.
        axes: of every side how many regions there are, by which steps, and how long they are.

    Returns:
        (parts, *regions, channels, channels), float64.
    """
    if not axes:
        return torch.bmm(a, b.mT).double().cpu()
    (count, step, size), rest = axes[0], axes[1:]
    inside = (count - 1) * step

    def part(begin: int, length: int) -> Tensor:
        """The stretch in pieces of a step each, (parts, pieces, *regions of the rest, channels, channels)."""
        x, z = (_pieces(one.narrow(2, begin, length), step) for one in (a, b))
        found = _regions(x, z, rest)
        return found.view(len(a), -1, *found.shape[1:])

    x, z = (_whole(one.narrow(2, inside, size - inside)) for one in (a, b))
    middle = _regions(x, z, rest)[:, None]
    if count == 1:
        return middle
    lost, won = part(0, inside), part(size, inside)
    first = middle + lost.sum(1, keepdim=True)
    return torch.cat([first, first + (won - lost).cumsum(1)], 1)


def _whole(x: Tensor) -> Tensor:
    """The first side goes into the batch."""
    return x.movedim(2, -2).flatten(-2)


def _pieces(x: Tensor, step: int) -> Tensor:
    """The first side is cut into pieces, which become parts of their own."""
    cut = x.reshape(*x.shape[:2], -1, step, *x.shape[3:])
    cut = cut.movedim(2, 1)  # (parts, pieces, channels, step, *sides, batch)
    return cut.movedim(3, -2).flatten(-2).flatten(0, 1)


def _put(found: Tensor, shift: tuple[int, ...], sums: Tensor, kernel: tuple[int, ...]) -> None:
    """The sums of one shift at their pairs of positions, and at the turned pairs."""
    for place in itertools.product(*(range(k - abs(d)) for d, k in zip(shift, kernel))):
        one = tuple(p + max(0, -d) for p, d in zip(place, shift))
        other = tuple(p + d for p, d in zip(one, shift))
        found[one + other], found[other + one] = sums[place], sums[place].T
