"""Operators that are painted as simpler ones."""

from __future__ import annotations

import pytest
import torch
from tests.network_check import check_network
from tests.paint.operators import goes_exactly
from torch import Tensor, nn


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("half", [False, True], ids=["zeros", "a constant"])
def test_a_bilinear_layer_loses_what_it_reads_and_what_it_makes(bias: bool, half: bool) -> None:
    """It had no rule, and pinned both of its inputs."""

    def run(m: nn.Module, y: Tensor) -> Tensor:
        y = y.movedim(1, -1)
        made: Tensor = m.layer(y.sigmoid() if half else y, y)
        return made.movedim(-1, 1)

    result = goes_exactly(run, layer=nn.Bilinear(8, 8, 8, bias=bias))
    assert result.mode == "eager" and result.removed == 8


class Fusion(nn.Module):
    """Two inputs meet."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 8), nn.Linear(5, 10)
        self.both, self.last = nn.Bilinear(8, 10, 6), nn.Linear(6, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        out: Tensor = self.last(self.both(self.left(left).relu(), self.right(right).tanh()).relu())
        return out


def test_two_sets_of_channels_and_their_products() -> None:
    torch.manual_seed(0)
    outcome = check_network(Fusion(), (torch.randn(4, 6), torch.randn(4, 5)), seed=0)
    assert outcome.exact and outcome.channels == 24 and outcome.removed == 12
