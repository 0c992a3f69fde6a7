"""Branches that a forward takes by chance, or once it has counted far enough, are pruned with the rest."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import prunus

Takes = Callable[["Sometimes"], bool]


def _by_pythons_coin(net: Sometimes) -> bool:
    return net.training and random.random() < 0.5


def _by_numpys_coin(net: Sometimes) -> bool:
    return net.training and bool(np.random.rand() < 0.5)  # noqa: NPY002


def _by_a_coin_in_eval_mode(net: Sometimes) -> bool:
    return random.random() < 0.3


def _every_second_time(net: Sometimes) -> bool:
    net.count += net.training
    return net.count % 2 == 1 and net.count > 1


def _after_a_while(net: Sometimes) -> bool:
    if net.training:
        net.whole += 1
    return bool(net.whole > 2)


def _after_a_while_in_real_numbers(net: Sometimes) -> bool:
    if net.training:
        net.real += 1
    return bool(net.real > 2)


WAYS = [
    _by_pythons_coin,
    _by_numpys_coin,
    _by_a_coin_in_eval_mode,
    _every_second_time,
    _after_a_while,
    _after_a_while_in_real_numbers,
]


class Sometimes(nn.Module):
    """A branch that `takes` decides about; `run` is what it does."""

    whole: Tensor
    real: Tensor

    def __init__(self, takes: Takes, run: Callable[[Sometimes, Tensor], Tensor]) -> None:
        super().__init__()
        self.takes, self.run, self.count = takes, run, 0
        self.first, self.aside, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)
        self.norm = nn.GroupNorm(1, 8)
        self.register_buffer("whole", torch.tensor(0))
        self.register_buffer("real", torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        if self.takes(self):
            y = self.run(self, y)
        out: Tensor = self.last(y)
        return out


def _agree(takes: Takes, run: Callable[[Sometimes, Tensor], Tensor]) -> int:
    """How many channels go, where masked and compact agree over many forwards in train mode."""
    torch.manual_seed(0)
    model, x = Sometimes(takes, run).double(), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    nn.init.normal_(model.norm.weight)
    nn.init.normal_(model.norm.bias)
    graph = prunus.trace(model, x)
    plan = prunus.plan(graph, torch.rand(graph.num_channels), rate=0.5, exact=True)
    small = prunus.compact(model, plan)
    masked, taken = prunus.mask(model, plan).train(), 0
    small.train()
    for seed in range(12):
        outputs = []
        for network in (masked, small):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            outputs.append(network(x))
        torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-9, atol=1e-9)
        taken += not torch.equal(outputs[0], masked.last(masked.first(x).relu()))
    assert 0 < taken < 12
    return plan.removed


@pytest.mark.parametrize("takes", WAYS)
def test_the_branch_is_pruned_with_the_rest(takes: Takes) -> None:
    """Its layers kept their widths in silence, so that the compact model failed where it is taken."""
    assert _agree(takes, lambda net, y: y + net.aside(y)) >= 4


@pytest.mark.parametrize("takes", WAYS[:4])
def test_channels_that_meet_there_are_coupled(takes: Takes) -> None:
    """Each of them meets the one on the other side, so that they go in pairs."""
    assert _agree(takes, lambda net, y: y + y.flip(1)) == 2


@pytest.mark.parametrize(
    "run",
    [lambda net, y: y + net.norm(y), lambda net, y: net.aside(y.sigmoid())],
    ids=["a norm across channels", "a constant for a layer of its own"],
)
def test_what_only_the_graph_of_a_forward_can_make_up_for_is_exact_all_the_same(
    run: Callable[[Sometimes, Tensor], Tensor],
) -> None:
    _agree(_by_pythons_coin, run)


class Never(nn.Module):
    """A layer that no forward runs, and a count that decides nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.unused, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1), nn.Conv2d(8, 4, 1)
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        out: Tensor = self.last(self.first(x).relu())
        return out


def test_what_no_pass_runs_holds_nothing() -> None:
    model, before = Never(), random.getstate()
    graph = prunus.trace(model, torch.zeros(1, 3, 6, 6))
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    assert small.get_parameter("first.weight").shape[0] == 4 and model.count == 0
    assert random.getstate() == before
