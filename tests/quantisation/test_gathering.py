"""Samples of a layer: the quantised network's inputs beside what is wanted of its outputs."""

from __future__ import annotations

import copy

import torch
from tests.paint.nets import Net, randomised
from torch import Tensor, nn

import prunus
from prunus.compensation.least_squares import SummedProducts
from prunus.compensation.prefix_cache import Resumed
from prunus.quantisation.gathering import gather
from prunus.quantisation.layers import layers

DRAW = torch.Generator().manual_seed(0)


def run(m: nn.Module, x: Tensor) -> Tensor:
    x = m.first(x).relu()
    return m.head((x + m.grouped(x)).mean((2, 3)))


@torch.no_grad()
def test_what_is_wanted_is_the_sum_of_the_dense_network() -> None:
    dense = randomised(
        Net(
            run,
            first=nn.Conv2d(3, 4, 3),
            grouped=nn.Conv2d(4, 4, 1, groups=2, bias=False),
            head=nn.Linear(4, 2),
        )
    ).eval()
    coded, batches = (
        copy.deepcopy(dense),
        [torch.randn(4, 3, 6, 6, generator=DRAW).double() for _ in range(2)],
    )
    coded.first.weight.mul_(0.8)
    graph = prunus.trace(dense, batches[0])
    layer = {layer.name: layer for layer in layers(graph)}["grouped"]
    assert layer.added
    pair = [Resumed(copy.deepcopy(model), graph, batches[0]) for model in (dense, coded)]
    fits = gather(pair[0], pair[1], layer, dense.grouped, batches, 0.1)
    given, wanted = [], []
    for x in batches:
        before, after = dense.first(x).relu(), coded.first(x).relu()
        given.append(after)
        wanted.append(dense.grouped(before) + before - after)
    for g, fit in enumerate(fits):
        plain = SummedProducts(2, 2)
        for x, y in zip(given, wanted):
            rows = [part[:, 2 * g : 2 * g + 2].transpose(0, 1).flatten(1).T for part in (x, y)]
            plain.take(*rows)
        prior = torch.zeros(2, 2, dtype=torch.float64)
        for seen, other in zip(fit.solve(prior, 0.1, True), plain.solve(prior, 0.1, True)):
            assert torch.allclose(seen, other, atol=1e-10)
