"""Diagonals and triangles of square matrices over the channels: what stands there follows what is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.paint.operators import Between, goes_exactly, halved
from torch import Tensor, nn

Way = Callable[[Between, Tensor], Tensor]


def gram(y: Tensor) -> Tensor:
    """The products of all pairs of channels, shape (N, C, C)."""
    return y.flatten(2) @ y.flatten(2).transpose(1, 2)


def gate(y: Tensor, values: Tensor) -> Tensor:
    """One number per channel, multiplied."""
    return y * values[..., None, None]


WAYS: dict[str, Way] = {
    "a diagonal": lambda m, y: gate(y, gram(y).diagonal(dim1=1, dim2=2)),
    "a diagonal that is not zero": lambda m, y: gate(y, gram(y).sigmoid().diagonal(dim1=1, dim2=2)),
    "a triangle": lambda m, y: gate(y, gram(y).tril().sum(-1)),
    "a triangle without the diagonal": lambda m, y: gate(y, gram(y).triu(1).sum(-1)),
    "a diagonal matrix": lambda m, y: (torch.diag_embed(y.amax((2, 3))) @ y.flatten(2)).view_as(y),
    "a diagonal weight": lambda m, y: torch.einsum("oc,nchw->nohw", torch.diag(m.scale), y),
    "a triangular weight": lambda m, y: torch.einsum("oc,nchw->nohw", m.square.tril(-1), y),
}


@pytest.mark.parametrize("name", WAYS)
def test_diagonals_and_triangles_follow(name: str) -> None:
    scale, square = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8, 8))
    assert goes_exactly(WAYS[name], scale=scale, square=square).mode == "eager"


@pytest.mark.parametrize(
    "way",
    [
        lambda m, y: gate(y, gram(y).triu(2).sum(-1)),
        lambda m, y: torch.cat([gate(y[:, 1:], gram(y).diagonal(1, 1, 2)), y[:, :1]], 1),
    ],
    ids=["a triangle", "a diagonal"],
)
def test_so_many_slots_away_from_the_diagonal_pins(way: Way) -> None:
    assert halved(way).asked == 0
