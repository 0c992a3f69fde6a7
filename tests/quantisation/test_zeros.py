"""Units that nothing is left of."""

from __future__ import annotations

import numpy as np
import torch
from tests.paint.nets import Net
from torch import Tensor, nn

import prunus
from prunus.quantisation.zeros import zeroed

DRAW = torch.Generator().manual_seed(0)


def run(m: nn.Module, x: Tensor) -> Tensor:
    return m.head(m.second(m.first(x).relu()).relu().mean((2, 3)))


def network() -> nn.Module:
    torch.manual_seed(0)
    return Net(run, first=nn.Conv2d(3, 6, 3), second=nn.Conv2d(6, 5, 3), head=nn.Linear(5, 2)).eval()


@torch.no_grad()
def test_what_is_not_read_and_what_is_not_made_goes() -> None:
    model, x = network(), torch.randn(2, 3, 8, 8, generator=DRAW)
    model.first.weight[1] = 0
    model.first.bias[1] = 0
    model.second.weight[:, 4] = 0
    model.head.weight[:, 2] = 0
    model.first.weight[:, 0] = 0  # of the image's planes none can go
    graph = prunus.trace(model, x)
    plan = zeroed(graph, model)
    assert {(g.parameter, g.removed) for g in plan.groups} == {
        ("first.weight", (1, 4)),
        ("second.weight", (2,)),
    }
    small = prunus.compact(model, plan)
    assert np.allclose(small(x), model(x), atol=1e-6) and small.second.weight.shape == (4, 4, 3, 3)


@torch.no_grad()
def test_a_layer_that_is_all_zero_keeps_one_channel() -> None:
    model = network()
    model.second.weight.zero_()
    plan = zeroed(prunus.trace(model, torch.zeros(1, 3, 8, 8)), model)
    assert [len(g.removed) for g in plan.groups] == [5, 4]


def test_where_nothing_is_zero_nothing_goes() -> None:
    model = network()
    plan = zeroed(prunus.trace(model, torch.zeros(1, 3, 8, 8)), model)
    assert not any(g.removed for g in plan.groups)
