"""A square weight that is made of a matrix and itself transposed: the same slots make channels and read them,
so that both sides of them are zero in the masked network.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.paint.operators import goes_exactly
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Made(nn.Module):
    """A parametrisation by a function."""

    def __init__(self, made: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.made = made

    def forward(self, weight: Tensor) -> Tensor:
        return self.made(weight)


WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "the sum": lambda w: w + w.transpose(0, 1),
    "the difference": lambda w: w - w.transpose(0, 1),
    "the larger": lambda w: torch.maximum(w, w.transpose(0, 1)),
    "the mean of a stack": lambda w: torch.stack([w, w.transpose(0, 1)]).mean(0),
    "the mean of a stack behind": lambda w: torch.stack([w, w.transpose(0, 1)], -1).mean(-1),
    "both triangles": lambda w: w.triu() + w.triu(1).transpose(0, 1),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_both_sides_of_a_symmetric_weight_are_zero(name: str) -> None:
    """The mask left what they read, so that compact networks were refused by their own check."""
    layer = nn.Linear(8, 8)
    parametrize.register_parametrization(layer, "weight", Made(WEIGHTS[name]))
    goes_exactly(lambda m, y: m.layer(y.movedim(1, -1)).movedim(-1, 1), layer=layer)


@pytest.mark.parametrize("outer", [True, False])
def test_a_matrix_times_itself_transposed_makes_what_it_reads(outer: bool) -> None:
    side = nn.Parameter(torch.randn(8, 5 if outer else 8))

    def run(m: nn.Module, y: Tensor) -> Tensor:
        weight = m.side @ m.side.t() if outer else m.side.t() @ m.side
        return torch.einsum("oc,nchw->nohw", weight, y)

    goes_exactly(run, side=side)
