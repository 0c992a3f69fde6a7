"""Layers as matrices: rows of what a layer gets times its matrices are what it makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.paint.nets import Net
from torch import Tensor, nn

import prunus
from prunus.observe.matrices import rows
from prunus.quantisation.gathering import sizes
from prunus.quantisation.layers import from_group_matrices, group_matrices, layers

DRAW = torch.Generator().manual_seed(0)
KINDS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv1d(4, 6, 3, padding=1, bias=False), (4, 9)),
    (nn.Conv2d(6, 4, (3, 2), stride=2, groups=2, bias=False), (6, 9, 9)),
    (nn.Conv2d(5, 10, 3, groups=5, padding=1, bias=False), (5, 7, 7)),
    (nn.Conv3d(2, 4, 2, bias=False), (2, 4, 4, 4)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, bias=False), (4, 5, 5)),
    (nn.ConvTranspose1d(6, 4, 3, groups=2, bias=False), (6, 7)),
    (nn.Linear(5, 3, bias=False), (5,)),
]


@pytest.mark.parametrize(("layer", "shape"), KINDS)
def test_rows_times_matrices_are_outputs(layer: Any, shape: tuple[int, ...]) -> None:
    layer = layer.double()
    x = torch.randn(3, *shape, dtype=torch.float64, generator=DRAW)
    with torch.no_grad():
        y = layer(x)
    groups, columns, outputs = sizes(layer)
    matrices = group_matrices(layer, layer.weight.detach())
    assert matrices.shape == (groups, outputs, columns)
    given, made = rows(layer, x, y, torch.Generator().manual_seed(0))
    for g in range(groups):
        part = given[:, g * columns : (g + 1) * columns]
        assert torch.allclose(part @ matrices[g].T, made[:, g * outputs : (g + 1) * outputs], atol=1e-12)
    assert torch.equal(from_group_matrices(layer, matrices, layer.weight), layer.weight)


def run(m: nn.Module, x: Tensor) -> Tensor:
    y = m.second(m.norm(m.first(x)).relu())
    return m.head((y + m.twice(m.twice(y))).mean((2, 3)))


def test_layers_come_in_the_order_in_which_they_run_and_only_if_called_once() -> None:
    model = Net(
        run,
        head=nn.Linear(4, 2),
        twice=nn.Conv2d(4, 4, 1),
        second=nn.Conv2d(6, 4, 1),
        norm=nn.BatchNorm2d(6),
        first=nn.Conv2d(3, 6, 3),
    ).eval()
    found = layers(prunus.trace(model, torch.randn(2, 3, 6, 6)))
    assert [(layer.name, layer.norm) for layer in found] == [("first", "norm"), ("second", ""), ("head", "")]


def test_a_layer_that_is_the_whole_model_is_found() -> None:
    found = layers(prunus.trace(nn.Linear(3, 2), torch.randn(2, 3)))
    assert [layer.weight for layer in found] == ["weight"]
