"""Least squares: every way to the answer gives that of stacking the ridge below the samples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from prunus.compensation import least_squares
from prunus.compensation.least_squares import Fit, KeptSamples, Means, SummedProducts, fit_for

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


def test_the_way_follows_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "MOST_COLUMNS", 4)
    assert isinstance(fit_for(4, 3, 0.1), SummedProducts)
    assert isinstance(fit_for(5, 3, 0.1), KeptSamples)
