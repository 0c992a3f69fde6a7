"""Least squares: every way to the answer gives that of stacking the ridge below the samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from prunus.compensation import least_squares
from prunus.compensation.least_squares import (
    Fit,
    KeptSamples,
    Means,
    SummedProducts,
    fit_for,
    solved,
    without,
)

DRAW = torch.Generator().manual_seed(0)
X = (
    torch.randn(200, 6, generator=DRAW, dtype=torch.float64)
    @ torch.randn(6, 6, generator=DRAW, dtype=torch.float64)
    + 0.7
)
Y = (
    X @ torch.randn(6, 3, generator=DRAW, dtype=torch.float64)
    + torch.randn(200, 3, generator=DRAW, dtype=torch.float64)
    - 2
)


def give(fit: Fit, x: Tensor, y: Tensor) -> None:
    """Samples, in portions of a few."""
    which = fit.wants(len(x))
    for part, wanted in zip(x[which].split(33), y[which].split(33)):
        fit.take(part, wanted)


PRIOR = torch.randn(3, 6, generator=DRAW, dtype=torch.float64)


def stacked(x: Tensor, y: Tensor, ridge: float, centred: bool) -> tuple[Tensor, Tensor]:
    """The same minimum from one system of equations, the ridge as rows of its own and the shift as a column
    of its own.
    """
    spread = x - x.mean(0) * centred
    strength = math.sqrt(ridge * float(spread.square().mean()) * len(x))
    ones = torch.ones(len(x), 1, dtype=torch.float64) * centred
    top = torch.cat([x, ones], 1)
    bottom = torch.cat(
        [
            strength * torch.eye(x.shape[1], dtype=torch.float64),
            torch.zeros(x.shape[1], 1, dtype=torch.float64),
        ],
        1,
    )
    left, right = torch.cat([top, bottom]), torch.cat([y, strength * PRIOR.T])
    solution = torch.linalg.lstsq(left, right, driver="gelsd").solution
    return solution[:-1].T, solution[-1] * centred


@pytest.mark.parametrize("ridge", [1e-3, 0.5, 20.0])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("fit", [SummedProducts(6, 3), KeptSamples()])
def test_both_ways_solve_the_stacked_system(fit: Fit, centred: bool, ridge: float) -> None:
    if not getattr(fit, "filled", False):
        for part in range(0, 200, 70):
            give(fit, X[part : part + 70], Y[part : part + 70])
        fit.filled = True  # type: ignore[attr-defined]
    weight, shift = fit.solve(PRIOR, ridge, centred)
    wanted, wanted_shift = stacked(X, Y, ridge, centred)
    assert torch.allclose(weight, wanted, atol=1e-9)
    assert torch.allclose(shift, wanted_shift, atol=1e-9)


def test_an_infinite_ridge_keeps_the_weights_and_makes_up_for_the_mean() -> None:
    fit = fit_for(6, 3, math.inf)
    give(fit, X, Y)
    weight, shift = fit.solve(PRIOR, math.inf, True)
    assert isinstance(fit, Means) and torch.equal(weight, PRIOR)
    assert torch.allclose((X @ weight.T + shift).mean(0), Y.mean(0))
    assert torch.equal(fit.solve(PRIOR, math.inf, False)[1], torch.zeros(3, dtype=torch.float64))
    strong = SummedProducts(6, 3)
    give(strong, X, Y)
    assert torch.allclose(strong.solve(PRIOR, 1e9, True)[0], PRIOR, atol=1e-6)


def test_inputs_that_are_always_zero_keep_their_weights() -> None:
    for fit in (SummedProducts(6, 3), KeptSamples()):
        give(fit, torch.zeros(10, 6), torch.ones(10, 3))
        weight, shift = fit.solve(PRIOR, 1e-3, True)
        assert torch.equal(weight, PRIOR) and torch.allclose(shift, torch.ones(3, dtype=torch.float64))


def test_samples_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "MOST_ROWS", 16)
    fit = KeptSamples()
    values = torch.arange(1000, dtype=torch.float64)[:, None]
    for part in values.split(37):
        give(fit, part, part)
    kept = torch.cat([x for x, _ in fit._rows])[:, 0]
    assert 8 <= len(kept) <= 16
    assert len(set(kept.diff().tolist())) == 1


@pytest.mark.parametrize("most", [5, 16, 200])
def test_thinned_samples_solve_the_system_of_those_that_are_kept(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(least_squares, "MOST_ROWS", most)
    fit = KeptSamples()
    for part in range(0, 200, 70):
        give(fit, X[part : part + 70], Y[part : part + 70])
    every = 1
    while -(-200 // every) > most:
        every *= 2
    weight, shift = fit.solve(PRIOR, 0.5, True)
    wanted, wanted_shift = stacked(X[::every], Y[::every], 0.5, True)
    assert torch.allclose(weight, wanted, atol=1e-9) and torch.allclose(shift, wanted_shift, atol=1e-9)


@pytest.mark.parametrize("centred", [True, False])
def test_doing_without_inputs_is_solving_for_the_weights_own_outputs(centred: bool) -> None:
    outputs = X @ PRIOR.T
    means = X.mean(0) * centred
    products = X.T @ X / len(X) - torch.outer(means, means)
    kept = torch.tensor([True, False, True, True, False, True])
    weight, shift = without(PRIOR, products, means, kept, 0.1)
    wanted, wanted_shift = stacked_about(X[:, kept], outputs, PRIOR[:, kept], 0.1, centred)
    assert torch.allclose(weight[:, kept], wanted, atol=1e-9) and not weight[:, ~kept].any()
    assert torch.allclose(shift, wanted_shift, atol=1e-9)
    nothing, mean = without(PRIOR, products, means, torch.zeros(6, dtype=torch.bool), 0.1)
    assert not nothing.any() and torch.allclose(mean, outputs.mean(0) * centred)


def stacked_about(x: Tensor, y: Tensor, prior: Tensor, ridge: float, centred: bool) -> tuple[Tensor, Tensor]:
    """The same as `stacked` with another prior."""
    spread = x - x.mean(0) * centred
    goal = y - y.mean(0) * centred - spread @ prior.T
    strength = ridge * float(spread.square().mean())
    squares = spread.T @ spread / len(x) + strength * torch.eye(x.shape[1], dtype=torch.float64)
    weight = prior + torch.linalg.solve(squares, spread.T @ goal / len(x)).T
    return weight, (y.mean(0) - weight @ x.mean(0)) * centred


def test_a_system_that_rounding_made_indefinite_is_solved() -> None:
    matrix = torch.diag(torch.tensor([1.0, -1e-17], dtype=torch.float64))
    matrix[0, 1] = matrix[1, 0] = 0.5
    found = solved(matrix, torch.ones(2, 1, dtype=torch.float64))
    assert torch.allclose(matrix @ found, torch.ones(2, 1, dtype=torch.float64))


def test_the_way_follows_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "MOST_COLUMNS", 4)
    assert isinstance(fit_for(4, 3, 0.1), SummedProducts)
    assert isinstance(fit_for(5, 3, 0.1), KeptSamples)
