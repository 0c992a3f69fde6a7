"""Channels in another order, by an index: the index follows what is left."""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import Net, channels, difference, pruned, randomised
from tests.paint.operators import Between, Run, goes_exactly
from torch import Tensor, nn

import prunus

ORDER = torch.tensor([3, 0, 6, 1, 7, 2, 5, 4])

BUFFERS: dict[str, Run] = {
    "x[:, order]": lambda m, y: y[:, m.order],
    "index_select": lambda m, y: y.index_select(1, m.order),
    "with all axes": lambda m, y: y[:, m.order, :, :],
    "there and back": lambda m, y: (y[:, m.order] * 2)[:, m.order.argsort()],
    "of another kind of number": lambda m, y: y.index_select(1, m.order.int()),
    "from the end": lambda m, y: y[:, m.order - 8],
    "mirrored": lambda m, y: y[:, m.order.flip(0)],
    "made of the width": lambda m, y: y[:, torch.arange(y.shape[1] - 1, -1, -1)],
}


@pytest.mark.parametrize("name", BUFFERS)
def test_an_order_that_is_a_buffer_or_made_of_the_width_follows(name: str) -> None:
    assert goes_exactly(BUFFERS[name], order=ORDER).mode == ("traced" if name == "from the end" else "eager")


LITERALS: dict[str, Run] = {
    "a range": lambda m, y: y[:, torch.arange(7, -1, -1)],
    "a list": lambda m, y: y[:, [4, 5, 6, 7, 0, 1, 2, 3]],
    "a tensor": lambda m, y: y.index_select(1, torch.tensor([3, 0, 6, 1, 7, 2, 5, 4])),
}


@pytest.mark.parametrize("name", LITERALS)
def test_an_order_that_is_written_out_becomes_a_constant_of_the_traced_graph(name: str) -> None:
    assert goes_exactly(LITERALS[name]).mode == "traced"


def test_the_buffer_holds_the_new_order() -> None:
    model = randomised(Between(lambda m, y: y[:, m.order], {"order": ORDER.clone()}))
    graph = prunus.trace(model, torch.zeros(1, 3, 4, 4, dtype=torch.float64))
    # channels are numbered along first.0.weight: 0, 3 and 6 go
    scores = torch.tensor([0.0, 1, 1, 0, 1, 1, 0, 1])
    small = prunus.compact(model, prunus.plan(graph, scores, rate=3 / 8))
    left = [1, 2, 4, 5, 7]
    assert small.order.tolist() == [left.index(slot) for slot in ORDER.tolist() if slot in left]
    assert model.order.tolist() == ORDER.tolist()


def test_a_few_channels_are_picked_and_the_others_go_freely() -> None:
    model = randomised(Net(lambda m, x: m.b(m.a(x)[:, m.few]), a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(3, 2, 1)))
    model.register_buffer("few", torch.tensor([4, 0, 2]))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    assert channels(prunus.trace(model, x), "b.weight", 1) == [4, 0, 2]
    plan, small = pruned(model, x)
    assert plan.exact and difference(prunus.mask(model, plan), small, x) < 1e-12


def test_a_slot_that_is_picked_twice_is_one_channel() -> None:
    model = randomised(Net(lambda m, x: m.b(m.a(x)[:, m.twice]), a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(4, 2, 1)))
    model.register_buffer("twice", torch.tensor([0, 2, 0, 1]))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    assert channels(prunus.trace(model, x), "b.weight", 1) == [0, 2, 0, 1]
    assert pruned(model, x)[0].exact


def test_one_index_for_two_layers_of_other_widths_keeps_what_it_must() -> None:
    """The index names slots of both, so that the same slots must go: where they are not coupled, the channels
    stay, or the graph is traced.
    """

    def run(m: nn.Module, x: Tensor) -> Tensor:
        a = m.a(x)
        return m.c(torch.cat([a[:, m.few], m.b(a)[:, m.few]], 1))

    model = randomised(Net(run, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 8, 1), c=nn.Conv2d(4, 2, 1)))
    model.register_buffer("few", torch.tensor([1, 5]))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    for seed in range(3):
        assert pruned(model, x, seed=seed)[0].exact


def test_an_order_that_is_also_a_factor_keeps_its_numbers() -> None:
    result = goes_exactly(lambda m, y: y[:, m.order] * m.order.view(1, -1, 1, 1), order=ORDER)
    assert result.mode == "traced"


def test_rows_of_a_table_are_pinned() -> None:
    model = Net(lambda m, x: x + m.table[torch.tensor([0, 1, 1, 0])], a=nn.Identity())
    model.table = nn.Parameter(torch.zeros(3, 4))
    graph = prunus.trace(model, torch.zeros(2, 4, 4))
    assert "picked by an index" in {pin.reason for pin in graph.pinned}


class Chosen(nn.Module):
    """Some channels go on, and some places, as masks say that are known before any input."""

    def __init__(self, real: bool) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 8, 1), nn.Linear(8, 2)
        chosen = torch.tensor([True, False, False, True, True, False, True, False])
        self.register_buffer("chosen", chosen.double() if real else chosen)
        self.register_buffer("inside", torch.eye(4) > 0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()[:, self.chosen > 0]
        return self.last(self.second(y).relu()[:, :, self.inside].mean(2))


@pytest.mark.parametrize("real", [True, False])
def test_a_known_mask_picks_the_places_where_it_is_true(real: bool) -> None:
    plan, small = pruned(Chosen(real).double().eval(), torch.randn(2, 3, 4, 4, dtype=torch.float64))
    assert plan.exact and small.second.out_channels == 4
