"""Rows times the weight as a matrix are what torch's own layer computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunus.observe import matrices as module_under_test
from prunus.observe.matrices import as_matrix, channel_axis, from_matrix, portions, rows

DRAW = torch.Generator().manual_seed(0)
LAYERS = {
    "linear": (nn.Linear(5, 4), (3, 5)),
    "linear on tokens": (nn.Linear(5, 4), (3, 7, 5)),
    "1x1": (nn.Conv2d(5, 4, 1), (3, 5, 6, 7)),
    "padded": (nn.Conv2d(5, 4, 3, padding=1), (3, 5, 6, 7)),
    "strided, dilated, oblong": (
        nn.Conv2d(5, 4, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(0, 1)),
        (3, 5, 8, 7),
    ),
    "same": (nn.Conv2d(5, 4, 3, padding="same", dilation=2), (2, 5, 6, 7)),
    "reflected": (nn.Conv2d(5, 4, 3, padding=2, padding_mode="reflect"), (2, 5, 6, 7)),
    "one axis": (nn.Conv1d(5, 4, 3, stride=2, padding=1), (3, 5, 9)),
    "three axes": (nn.Conv3d(5, 4, 3, padding=1), (2, 5, 4, 3, 5)),
    "without a batch": (nn.Conv2d(5, 4, 3), (5, 6, 7)),
    "transposed": (nn.ConvTranspose2d(5, 4, 2, stride=2), (3, 5, 4, 3)),
    "transposed, with all": (
        nn.ConvTranspose2d(
            5, 4, (3, 4), stride=(2, 3), padding=(1, 2), output_padding=(1, 0), dilation=(2, 1)
        ),
        (3, 5, 4, 3),
    ),
    "transposed, cropped": (nn.ConvTranspose2d(5, 4, 2, stride=2, padding=2), (3, 5, 4, 3)),
    "transposed, one axis": (nn.ConvTranspose1d(5, 4, 3, stride=2), (3, 5, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_the_matrix_are_the_outputs(name: str) -> None:
    layer, shape = LAYERS[name]
    layer = layer.double()
    inputs = torch.randn(shape, generator=DRAW, dtype=torch.float64)
    outputs = layer(inputs).detach()
    assert layer.bias is not None
    x, y = rows(layer, inputs, outputs, DRAW)
    matrix = as_matrix(layer, layer.weight.detach())
    assert matrix.shape[:2] == (4, 5)
    assert torch.allclose(x @ matrix.flatten(1).T + layer.bias.detach(), y, atol=1e-12)
    assert y.numel() == outputs.numel()
    assert torch.equal(from_matrix(layer, matrix, layer.weight), layer.weight)
    assert inputs.shape[channel_axis(layer)] == 5 and outputs.shape[channel_axis(layer)] == 4


def test_of_many_places_some_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "LEAST_ROWS", 10)
    monkeypatch.setattr(module_under_test, "ROWS_PER_COLUMN", 1)
    layer = nn.Conv2d(2, 3, 3, padding=1).double()
    inputs = torch.randn(4, 2, 20, 20, generator=DRAW, dtype=torch.float64)
    outputs = layer(inputs).detach()
    assert layer.bias is not None
    x, y = rows(layer, inputs, outputs, torch.Generator().manual_seed(1))
    assert x.shape == (18, 18) and y.shape == (18, 3)
    assert torch.allclose(
        x @ as_matrix(layer, layer.weight.detach()).flatten(1).T + layer.bias.detach(), y, atol=1e-12
    )
    assert torch.equal(x, rows(layer, inputs, outputs, torch.Generator().manual_seed(1))[0])


@pytest.mark.parametrize("name", LAYERS)
def test_portions_of_some_rows_are_these_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, shape = LAYERS[name]
    layer = layer.double()
    inputs = torch.randn(shape, generator=DRAW, dtype=torch.float64)
    outputs = layer(inputs).detach()
    x, y = rows(layer, inputs, outputs, torch.Generator().manual_seed(1))
    monkeypatch.setattr(module_under_test, "MOST_NUMBERS", 3 * x.shape[1])
    told: list[int] = []

    def every_other(count: int) -> slice:
        told.append(count)
        return slice(1, None, 2)

    found = list(portions(layer, inputs, outputs, torch.Generator().manual_seed(1), every_other))
    assert told == [len(x)] and max(len(one) for one, _ in found) <= 3
    assert torch.equal(torch.cat([one for one, _ in found]), x[1::2])
    assert torch.equal(torch.cat([one for _, one in found]), y[1::2])
    whole = rows(layer, inputs, outputs, torch.Generator().manual_seed(1))
    assert torch.equal(whole[0], x) and torch.equal(whole[1], y)


def test_half_precision_is_summed_in_single() -> None:
    layer = nn.Linear(5, 4).bfloat16()
    inputs = torch.randn(3, 5).bfloat16()
    assert {part.dtype for part in rows(layer, inputs, layer(inputs).detach(), DRAW)} == {torch.float32}
