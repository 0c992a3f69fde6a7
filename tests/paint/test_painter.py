"""One small network per family of operators: exactly which slots form a channel, what is pinned, and what is
said about it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, channels, random_plan, randomised
from torch import nn

import prunus

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def test_residual_addition_couples() -> None:
    model = randomised(
        Net(
            lambda m, x: m.c(m.b(m.a(x)) + m.a(x)),
            a=nn.Conv2d(3, 4, 1),
            b=nn.Conv2d(4, 4, 1),
            c=nn.Conv2d(4, 2, 1),
        )
    )
    graph = prunus.trace(model, IMAGE)
    for name, dim in (("a.weight", 0), ("b.weight", 0), ("b.weight", 1), ("c.weight", 1)):
        assert channels(graph, name, dim) == [0, 1, 2, 3]


def test_cat_puts_channels_side_by_side() -> None:
    model = Net(
        lambda m, x: m.c(torch.cat([m.a(x), x, m.b(x)], 1)),
        a=nn.Conv2d(3, 2, 1),
        b=nn.Conv2d(3, 4, 1),
        c=nn.Conv2d(9, 2, 1),
    )
    assert channels(prunus.trace(randomised(model), IMAGE), "c.weight", 1) == [0, 1, -1, -1, -1, 2, 3, 4, 5]


SINGLE: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], list[int]]] = {
    "an index": (lambda y: y[:, 1], [0, 1]),
    "an index from the end": (lambda y: y[:, -2], [3, 4]),
    "a slice": (lambda y: y[:, 2:3], [0, 1, 2]),
    "a slice from the end": (lambda y: y[:, -1:], [4]),
    "narrow": (lambda y: y.narrow(1, 0, 1), [0]),
    "a list": (lambda y: y[:, [1]], [0, 1]),
    "a piece of a split": (lambda y: y.split([3, 1, 1], 1)[1], [3, 4]),
    "all one by one": (lambda y: sum(y.unbind(1), torch.zeros(())), [0, 1, 2, 3, 4]),
}


@pytest.mark.parametrize("name", SINGLE)
def test_single_slots_pin_what_counts_them(name: str) -> None:
    run, pinned = SINGLE[name]
    graph = prunus.trace(randomised(Net(lambda m, x: run(m.a(x)), a=nn.Conv2d(3, 5, 1))), IMAGE)
    assert [slot for slot, channel in enumerate(channels(graph, "a.weight")) if channel < 0] == pinned
    assert "single slots are selected" in {p.reason for p in graph.pinned}


def test_zero_padding_of_channels_gives_new_slots_a_life_of_their_own() -> None:
    def run(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return m.c(F.pad(m.a(x), (0, 0, 0, 0, 1, 2)) + m.b(x))

    graph = prunus.trace(
        randomised(Net(run, a=nn.Conv2d(3, 2, 1), b=nn.Conv2d(3, 5, 1), c=nn.Conv2d(5, 2, 1))), IMAGE
    )
    assert channels(graph, "a.weight") == [0, 1]
    assert channels(graph, "b.weight") == channels(graph, "c.weight", 1) == [2, 0, 1, 3, 4]


@pytest.mark.parametrize(
    ("shift", "pinned"),
    [(1, [4]), (-2, [0, 1]), (3, [2, 3, 4]), (0, []), (5, [0, 1, 2, 3, 4]), (7, [0, 1, 2, 3, 4])],
)
def test_a_roll_keeps_what_it_carries_around(shift: int, pinned: list[int]) -> None:
    model = randomised(
        Net(lambda m, x: m.b(m.a(x).roll(shift, 1)), a=nn.Conv2d(3, 5, 1), b=nn.Conv2d(5, 2, 1))
    )
    graph = prunus.trace(model, IMAGE)
    made = channels(graph, "a.weight")
    assert [slot for slot, channel in enumerate(made) if channel < 0] == pinned
    assert channels(graph, "b.weight", 1) == np.roll(made, shift).tolist()
    if graph.num_channels:
        small = prunus.compact(model, random_plan(graph))
        assert small.prunus.mode == "eager" and small.prunus.plan.removed == graph.num_channels // 2


def test_flipped_channels_are_coupled_in_pairs_where_they_meet() -> None:
    graph = prunus.trace(
        randomised(
            Net(
                lambda m, x: (lambda y: m.b(y + y.flip(1)))(m.a(x)),
                a=nn.Conv2d(3, 5, 1),
                b=nn.Conv2d(5, 2, 1),
            )
        ),
        IMAGE,
    )
    assert channels(graph, "a.weight") == [0, 1, 2, 1, 0]


def test_embedding_rows_are_pinned_and_its_features_are_not() -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2))
    graph = prunus.trace(model, torch.zeros(2, 5, dtype=torch.int64))
    assert channels(graph, "0.weight", 0) == [-1] * 7
    assert channels(graph, "0.weight", 1) == channels(graph, "1.weight", 1) == [0, 1, 2, 3]


def test_an_index_pins_the_axis_that_it_picks_from_and_no_other() -> None:
    model = Net(
        lambda m, x: m.b(m.a(x)[:, x.mean((0, 2, 3)).argsort()]), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 2, 1)
    )
    graph = prunus.trace(randomised(model), IMAGE)
    assert graph.num_channels == 0
    assert "picked by an index" in {p.reason for p in graph.pinned}
    model = Net(
        lambda m, x: m.b(m.a(x)[..., torch.tensor([2, 0, 1])]), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 2, 1)
    )
    assert channels(prunus.trace(randomised(model), IMAGE), "b.weight", 1) == [0, 1, 2, 3]
