"""Axes that a forward makes itself, by copying one slot or by drawing random numbers, go with the channels
that they meet.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, channels, pruned, randomised
from tests.paint.operators import Between, Run, goes, goes_exactly, halved, leaks
from torch import Tensor, nn

import prunus


def gate(y: Tensor) -> Tensor:
    """One plane out of all channels; the pixels' largest is exact where removed ones cannot win, but the plan
    need not know.
    """
    return y.amax(1, keepdim=True).sigmoid()


COPIES: dict[str, Run] = {
    "expand_as": lambda m, y: y * gate(y).expand_as(y),
    "expand": lambda m, y: y * gate(y).expand(-1, y.shape[1], -1, -1),
    "repeat": lambda m, y: y * gate(y).repeat(1, y.shape[1], 1, 1),
    "tile": lambda m, y: y * gate(y).tile((1, y.shape[1], 1, 1)),
    "repeat_interleave": lambda m, y: y * gate(y).repeat_interleave(y.shape[1], dim=1),
    "broadcast_tensors": lambda m, y: y * torch.broadcast_tensors(gate(y), y)[0],
    "broadcast_to": lambda m, y: y * torch.broadcast_to(gate(y), y.shape),
    "a new axis": lambda m, y: y * gate(y)[:, 0].expand(y.shape[1], -1, -1, -1).transpose(0, 1),
    "a mask": lambda m, y: y.masked_fill((gate(y) < 0.6).expand_as(y), 0.0),
    "a condition": lambda m, y: torch.where((gate(y) < 0.6).expand_as(y), y, torch.zeros_like(y)),
    "F.normalize": lambda m, y: F.normalize(y, dim=1),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_one_slot_are_channels_like_the_others(name: str) -> None:
    assert goes(COPIES[name]).mode == "eager"


LITERALS: dict[str, Run] = {
    "expand": lambda m, y: y * gate(y).expand(-1, 8, -1, -1),
    "expand to all sizes": lambda m, y: y * gate(y).expand(y.shape[0], 8, y.shape[2], y.shape[3]),
    "repeat": lambda m, y: y * gate(y).repeat(1, 8, 1, 1),
    "repeat_interleave": lambda m, y: y * gate(y).repeat_interleave(8, dim=1),
    "new_ones": lambda m, y: y * y.new_ones(2, 8, 1, 1),
}


@pytest.mark.parametrize("name", LITERALS)
def test_a_number_of_copies_that_is_written_out_needs_the_traced_graph(name: str) -> None:
    assert goes(LITERALS[name]).mode == "traced"


EXACT: dict[str, Run] = {
    "copies of data, times channels": lambda m, y: (
        y * y.flatten(2).sum((1, 2)).tanh().view(-1, 1, 1, 1).expand_as(y)
    ),
    "copies of a constant": lambda m, y: y + torch.zeros(1, 1, 1, 1, dtype=y.dtype).expand_as(y),
    "full_like": lambda m, y: y * torch.full_like(y, 0.5),
    "a hand-written norm": lambda m, y: y / (y.square().sum(1, keepdim=True).sqrt() + 1e-6).expand_as(y),
    "a norm over space": lambda m, y: F.normalize(y.flatten(2), dim=2).view_as(y),
}


@pytest.mark.parametrize("name", EXACT)
def test_copies_that_leave_removed_channels_at_zero_are_exact(name: str) -> None:
    assert goes_exactly(EXACT[name]).mode == "eager"


def test_copies_of_a_constant_other_than_zero_are_no_zeros() -> None:
    assert (leaks(goes(lambda m, y: y + torch.ones(1, 1, 1, 1, dtype=y.dtype).expand_as(y))) == 1).all()


RANDOM: dict[str, Run] = {
    "rand": lambda m, y: y * (torch.rand(y.shape) >= 0),
    "randn of the channels": lambda m, y: y * (torch.randn(1, y.shape[1], 1, 1) > -100),
    "randint": lambda m, y: y * (torch.randint(0, 5, y.shape) >= 0),
    "normal of a size": lambda m, y: y * (torch.normal(0.0, 1.0, y.shape) > -100),
    "normal of a tensor": lambda m, y: y * (torch.normal(torch.zeros_like(y), 1.0) > -100),
    "rand_like": lambda m, y: y * (torch.rand_like(y) >= 0),
    "randint_like": lambda m, y: y * (torch.randint_like(y, 5) >= 0),
    "bernoulli": lambda m, y: y * torch.bernoulli(torch.ones_like(y)),
    "bernoulli_": lambda m, y: y * torch.empty(y.shape, dtype=y.dtype).bernoulli_(1.0),
    "uniform_": lambda m, y: y * (torch.empty_like(y).uniform_() >= 0),
    "normal_": lambda m, y: y * (torch.zeros(y.shape, dtype=y.dtype).normal_() > -100),
    "dropout that is always on": lambda m, y: F.dropout(y, 0.5, training=True),
    "dropout of channels that is always on": lambda m, y: F.dropout2d(y, 0.5, training=True),
    "noise": lambda m, y: y + torch.randn_like(y),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_go_with_channels_and_are_noted(name: str) -> None:
    result = goes(RANDOM[name])
    assert "random numbers for the channels" in result.notes and result.mode == "eager"


def test_random_numbers_without_channels_are_noted_as_such_alone() -> None:
    result = goes(lambda m, y: y * torch.rand(y.shape[0], 1, 1, 1, dtype=y.dtype).ceil().clamp(1, 1))
    assert result.mode == "eager" and result.notes.startswith("the forward draws random numbers")


def test_class_tokens_and_learned_queries_keep_their_channels() -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        tokens = y.flatten(2).transpose(1, 2)
        tokens = torch.cat([m.token.expand(len(tokens), -1, -1), tokens], 1)
        found, _ = m.attention(m.query.unsqueeze(0).repeat(len(tokens), 1, 1), tokens, tokens)
        return y * found.mean(1)[:, :, None, None]

    model = Between(
        run,
        {
            "token": nn.Parameter(torch.zeros(1, 1, 8)),
            "query": nn.Parameter(torch.zeros(3, 8)),
            "attention": nn.MultiheadAttention(8, 2, batch_first=True),
        },
    )
    graph = prunus.trace(randomised(model), torch.zeros(2, 3, 4, 4, dtype=torch.float64))
    assert channels(graph, "token", 2) == channels(graph, "first.0.weight") == list(range(8))
    assert channels(graph, "query", 1) == channels(graph, "attention.in_proj_weight", 1) == list(range(8))


def test_copies_of_heads_leave_the_heads_free() -> None:
    """Grouped queries: keys of one head are read by two, so that they are copied and
    joined with the heads.
    """

    def run(m: nn.Module, x: Tensor) -> Tensor:
        q = m.q(x).view(2, 5, 4, 6).transpose(1, 2)
        k, v = (
            layer(x).view(2, 5, 2, 1, 6).expand(2, 5, 2, 2, 6).reshape(2, 5, 4, 6).transpose(1, 2)
            for layer in (m.k, m.v)
        )
        return m.o((q @ k.transpose(2, 3) @ v).transpose(1, 2).reshape(2, 5, 24))

    model = randomised(
        Net(run, q=nn.Linear(4, 24), k=nn.Linear(4, 12), v=nn.Linear(4, 12), o=nn.Linear(24, 2))
    )
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    graph = prunus.trace(model, x)
    assert channels(graph, "k.weight") == [0, 1, 2, 3, 4, 5] * 2
    assert channels(graph, "o.weight", 1) == [6, 7, 8, 9, 10, 11] * 4
    assert pruned(model, x)[0].exact


def test_copies_alone_are_no_channels() -> None:
    """A grey image becomes three planes: what the first layer reads stays what it is."""
    copies = Net(lambda m, x: m.c(x.repeat(1, 3, 1, 1)), c=nn.Conv2d(3, 2, 1))
    drawn = Net(lambda m, x: m.c(torch.rand(2, 3, 4, 4, dtype=x.dtype)) + x, c=nn.Conv2d(3, 2, 1))
    for model, reason in ((copies, "copies of one slot"), (drawn, "random numbers")):
        graph = prunus.trace(randomised(model), torch.zeros(2, 1, 4, 4, dtype=torch.float64))
        assert graph.num_channels == 0
        assert reason in {pin.reason for pin in graph.pinned}


def test_a_canvas_that_is_written_into_holds_what_is_written() -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        canvas = y.new_zeros(y.shape[0], y.shape[1], 10, 10)
        canvas[:, :, 1:9, 1:9] = y
        return canvas[:, :, 1:9, 1:9]

    assert goes_exactly(run).mode == "eager"


def test_an_operator_in_place_leaves_other_pieces_of_a_split_alone() -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        a, b = m.wide(y).chunk(2, 1)
        a.sigmoid_()
        return a * b

    assert goes_exactly(run, wide=nn.Conv2d(8, 16, 1)).removed == 8


def test_an_operator_in_place_reaches_other_views_of_its_memory() -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        y = y.clone()
        whole = y.view(y.shape)
        y[:, :, :2].sigmoid_()
        return whole

    assert np.isnan(leaks(halved(run))).all()
