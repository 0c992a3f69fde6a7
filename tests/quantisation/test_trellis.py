"""Error feedback along a trellis: the best walk of all, and what it is worth."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from prunus.coding.integers import encode
from prunus.coding.tensors import Grid, streamed
from prunus.coding.trellis import NEXT, places_of
from prunus.quantisation.feedback import feedback_factors, output_error, round_with_feedback
from prunus.quantisation.grid import quantise
from prunus.quantisation.trellis import FINER, MOST, Walking, candidates, prices_of, round_on_trellis

COLUMNS = 5


def subject(rows: int, columns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A weight, and the squares of inputs that are alike."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(4 * columns, columns, generator=draw).double()
    x = x @ (torch.eye(columns) + torch.randn(columns, columns, generator=draw) / columns**0.5).double()
    signs = torch.randn(1, rows, columns, generator=draw).sign().double()
    weight = -torch.rand(1, rows, columns, generator=draw).double().clamp(min=1e-6).log() * signs
    return weight, (x.T @ x / len(x))[None]


def walks_of(wanted: int, start: int) -> tuple[Tensor, Tensor]:
    """All integers of so many columns, near zero, from a state, and the grid and the size of each place."""
    found, sizes = list[list[int]](), list[list[tuple[int, int]]]()
    for places in product(range(-3, 4), repeat=wanted):
        state, integers, taken = start, [], []
        for place in places:
            second, sign = state % 2, (place > 0) - (place < 0)
            integers.append(2 * place - second * sign)
            taken.append((second, abs(place)))
            state = NEXT[state][abs(place) % 2]
        found.append(integers)
        sizes.append(taken)
    return torch.tensor(found).double(), torch.tensor(sizes)


@pytest.mark.parametrize("priced", [False, True])
@pytest.mark.parametrize("start", [0, 3])
def test_no_other_walk_is_nearer(priced: bool, start: int) -> None:
    weight, squares = subject(4, COLUMNS, start)
    step = 0.6
    factors = feedback_factors(squares, damping=1e-6)
    prices = None
    if priced:
        prices = torch.linspace(0.02, 5.0, MOST + 1).double().expand(2, -1) * torch.tensor([[1.0], [1.7]])
    found, _ = round_on_trellis(Walking(weight, factors), step, prices, torch.full((1, 4), start))
    everything, taken = walks_of(COLUMNS, start)
    cost = 0 if prices is None else prices[taken[..., 0], taken[..., 1]].sum(1)
    for row, integers in zip(weight[0], found[0]):
        apart = row - step * everything
        errors = ((apart @ squares[0]) * apart).sum(1)
        assert integers.tolist() == everything[(errors + cost).argmin()].tolist()


def test_the_nearest_of_every_kind_are_found() -> None:
    wanted = torch.linspace(-9.3, 9.3, 400).double()[:, None].expand(-1, 8)
    found = candidates(wanted)
    for state in range(8):
        second = state % 2
        for odd in (0, 1):
            places = [place for place in range(-9, 10) if place % 2 == odd]
            grid = torch.tensor([2 * p - second * ((p > 0) - (p < 0)) for p in places]).double()
            nearest = (wanted[:, state, None] - grid).abs().min(1).values
            assert torch.allclose((found[:, state, odd] - wanted[:, state]).abs(), nearest)
            assert torch.isin(found[:, state, odd], grid).all()


def test_walks_begin_where_the_ones_before_ended() -> None:
    weight, squares = subject(6, 200)
    factors = feedback_factors(squares)
    found, state = round_on_trellis(Walking(weight, factors), 0.5)
    places_of(found[0].to(torch.int32).numpy())  # all walks
    more, _ = round_on_trellis(Walking(weight, factors), 0.5, start=state)
    places_of(torch.cat((found[0], more[0]), 1).to(torch.int32).numpy())


def test_what_is_zero_stays_zero() -> None:
    weight, squares = subject(30, 100)
    kept = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    found, _ = round_on_trellis(Walking(weight * kept, feedback_factors(squares), kept), 0.2)
    assert not found[~kept].any() and found[kept].count_nonzero() > 0.8 * kept.sum()
    places_of(found[0].to(torch.int32).numpy())


@pytest.mark.parametrize("step, fewer", [(0.3, 0.97), (1.5, 0.95)])
def test_fewer_bytes_for_the_same_error(step: float, fewer: float) -> None:
    """Three quarters of a decibel and more, and more where a bit has its price."""
    weight, squares = subject(150, 120)
    factors = feedback_factors(squares)

    def figures(integers: Tensor, step: float, walks: bool) -> tuple[float, float]:
        whole = integers[0].to(torch.int32).numpy()
        stream = places_of(whole) if walks else whole
        return output_error(weight - step * integers, squares), len(encode([stream], [walks]))

    error, size = figures(round_with_feedback(weight, factors, step), step, False)
    finer = FINER * step
    first, _ = round_on_trellis(Walking(weight, factors), finer)
    prices = prices_of(first[0], output_error(weight - finer * first, squares) / weight.numel())
    for _ in range(4):  # the step with the same error
        found, _ = round_on_trellis(Walking(weight, factors), finer, prices)
        own, walking = figures(found, finer, True)
        finer *= (error / own) ** 0.5
    assert own == pytest.approx(error, rel=0.05)
    assert walking < fewer * size


def test_prices_follow_from_what_was_taken() -> None:
    weight, squares = subject(50, 100)
    found, _ = round_on_trellis(Walking(weight, feedback_factors(squares)), 0.5)
    prices = prices_of(found[0], 2.0)
    assert prices.shape == (2, MOST + 1) and bool((prices > 0).all())
    assert bool((prices_of(found[0], 4.0) == 2 * prices).all())
    assert prices[0, 0] < prices[0, 1] < prices[0, 3]
    assert prices[0, 0] < prices[1, 0]  # zero has less room on the second grid


def test_layers_walk_unless_their_outputs_are_not_in_rows() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.ConvTranspose2d(8, 4, 2),
        nn.Flatten(),
        nn.Linear(4 * 49, 10),
    ).eval()
    inputs = [torch.randn(64, 3, 10, 10)]
    found = quantise(model, inputs, error=0.01)
    grids = {name: coded for name, coded in found.tensors.items() if isinstance(coded, Grid)}
    assert {name: grid.trellis for name, grid in grids.items() if name.endswith("weight")} == {
        "0.weight": True, "2.weight": True, "3.weight": False, "5.weight": True,
    }  # fmt: skip
    for grid in grids.values():
        streamed(grid)
    plain = quantise(model, inputs, error=0.01, trellis=False)
    assert not any(coded.trellis for coded in plain.tensors.values() if isinstance(coded, Grid))
    assert not any(c.trellis for c in quantise(model, inputs, bits=4).tensors.values() if isinstance(c, Grid))
