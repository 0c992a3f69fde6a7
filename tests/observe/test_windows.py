"""Sums over windows that are made by shifts are those of the windows themselves."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.observe.matrices import LEAST_ROWS, portions
from prunus.observe.windows import cheaper, window_sums

DRAW = torch.Generator().manual_seed(0)
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "one place": (nn.Conv2d(3, 2, 1), (2, 3, 5, 4)),
    "a line": (nn.Conv1d(3, 2, 5), (2, 3, 11)),
    "a line, dilated": (nn.Conv1d(3, 2, 4, dilation=3, padding=2), (2, 3, 20)),
    "kernel as long as the places": (nn.Conv1d(2, 2, 6), (2, 2, 10)),
    "a square": (nn.Conv2d(3, 2, 3, padding=1), (2, 3, 6, 5)),
    "oblong, dilated": (nn.Conv2d(3, 2, (2, 3), dilation=(3, 2), padding=(1, 2)), (2, 3, 9, 11)),
    "round the edge": (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (2, 2, 5, 7)),
    "three axes": (nn.Conv3d(2, 2, (3, 2, 2), padding=1), (2, 2, 4, 3, 4)),
    "transposed": (nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1), (2, 3, 4, 5)),
}


def slowly(layer: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Every window by itself: the inputs (windows, columns) and the outputs (windows, outputs)."""
    if layer.transposed:
        spread = x.new_zeros(len(x), x.shape[1], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1)
        spread[:, :, ::2, ::2] = x
        x = F.pad(spread, (1, 1, 1, 1))
    else:
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    seen, made = [], []
    for sample, place in itertools.product(range(len(x)), itertools.product(*map(range, y.shape[2:]))):
        numbers = [
            x[sample, channel][tuple(p + k * d for p, k, d in zip(place, position, layer.dilation))]
            for channel in range(x.shape[1])
            for position in itertools.product(*map(range, layer.kernel_size))
        ]
        seen.append(torch.stack(numbers))
        made.append(torch.stack([one[place] for one in y[sample]]))
    return torch.stack(seen), torch.stack(made)


@pytest.mark.parametrize("name", LAYERS)
def test_sums_are_those_of_every_window(name: str) -> None:
    layer, shape = LAYERS[name]
    layer = layer.double()
    x = torch.randn(shape, generator=DRAW, dtype=torch.float64)
    y = layer(x).detach()
    seen, made = slowly(layer, x, y)
    found = window_sums(layer, x, y)
    assert found.count == len(seen)
    torch.testing.assert_close(found.inputs, seen.sum(0))
    torch.testing.assert_close(found.products, seen.T @ seen)
    torch.testing.assert_close(found.outputs, made.sum(0))
    torch.testing.assert_close(found.crossed, made.T @ seen)


def test_long_kernels_are_summed_by_shifts_and_small_ones_by_rows() -> None:
    def asked(layer: nn.Module, *shape: int) -> bool:
        x = torch.zeros(shape)
        return cheaper(layer, x, layer(x))

    long = nn.Conv1d(48, 48, 64)
    assert asked(long, 8, 48, 512)
    assert not asked(long, 48, 512)  # no batch
    assert not asked(long, 8, 48, 100)  # the kernel is longer than the places
    assert not asked(nn.Conv1d(48, 48, 64, stride=2), 8, 48, 1024)
    assert not asked(nn.Conv2d(8, 8, 3), 8, 8, 16, 16)
    assert not asked(nn.Linear(48, 4), 8, 48)
    assert not asked(nn.Conv2d(8, 8, 1), 8, 8, 16, 16)


def test_half_precision_is_summed_in_single() -> None:
    layer = nn.Conv1d(2, 2, 5).to(torch.bfloat16)
    x = torch.randn(2, 2, 11, generator=DRAW).to(torch.bfloat16)
    y = layer(x).detach()
    wide = window_sums(nn.Conv1d(2, 2, 5), x.float(), y.float())
    found = window_sums(layer, x, y)
    assert torch.equal(found.products, wide.products) and torch.equal(found.crossed, wide.crossed)


def test_rows_and_shifts_agree_where_all_rows_are_taken() -> None:
    layer = nn.Conv2d(4, 3, 5, padding=2).double()
    x = torch.randn(6, 4, 8, 8, generator=DRAW, dtype=torch.float64)
    y = layer(x).detach()
    assert y[:, 0].numel() < LEAST_ROWS
    seen, made = (torch.cat(parts) for parts in zip(*portions(layer, x, y, DRAW)))
    found = window_sums(layer, x, y)
    torch.testing.assert_close(found.products, seen.T @ seen)
    torch.testing.assert_close(found.crossed, made.T @ seen)
