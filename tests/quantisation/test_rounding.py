"""The grid of one layer: its step, and least squares with given zeros."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from prunus.compensation.least_squares import KeptSamples, SummedProducts
from prunus.quantisation.rounding import (
    Wanted,
    blocks,
    from_blocks,
    grid_of_layer,
    input_squares,
    on_support,
    step_with_error,
)

DRAW = torch.Generator().manual_seed(0)


def samples(columns: int, outputs: int, count: int = 400) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, outputs and the weight between them."""
    x = torch.randn(count, columns, dtype=torch.float64, generator=DRAW) @ torch.randn(
        columns, columns, dtype=torch.float64, generator=DRAW
    )
    weight = torch.randn(outputs, columns, dtype=torch.float64, generator=DRAW)
    return x, x @ weight.T + 3, weight


@pytest.mark.parametrize("error", [1e-4, 0.01, 0.1])
def test_the_error_is_what_was_asked_for(error: float) -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(20, 12, dtype=torch.float64, generator=draw)
    # so many, of inputs that all vary: what is shrunk is next to nothing
    mixed = torch.eye(12) + 0.2 * torch.randn(12, 12, generator=draw) / 12**0.5
    x = (torch.randn(4000, 12, generator=draw) @ mixed).double()
    y = x @ weight.T + 3
    fit = SummedProducts(12, 20)
    picked = fit.wants(len(x))
    fit.take(x[picked], y[picked])
    found = grid_of_layer(weight[None], [fit], Wanted(error, None, True, True), centred=True)
    assert found.error == pytest.approx(error, rel=0.1)
    made = x @ (found.step * found.integers[0]).T + found.shift
    assert float((made - y).square().sum() / (y - y.mean(0)).square().sum()) == pytest.approx(error, rel=0.1)


def test_a_step_is_found_where_the_error_is_no_square() -> None:
    def error_at(step: float) -> tuple[float, Tensor]:
        return 1 - math.exp(-(step**1.3)), torch.zeros(1)

    step, error, _ = step_with_error(0.2, 5.0, error_at)
    assert error == pytest.approx(0.2, rel=0.03) and step == pytest.approx(0.315, rel=0.05)


def test_given_zeros_are_least_squares_row_by_row() -> None:
    x, y, weight = samples(10, 4)
    noisy = y + torch.randn(y.shape, dtype=torch.float64, generator=DRAW)
    kept = torch.rand(1, 4, 10, generator=DRAW) > 0.4
    squares = (x.T @ x / len(x))[None]
    ridge = 1e-3
    damped = squares[0] + ridge * squares[0].diagonal().mean() * torch.eye(10, dtype=torch.float64)
    full = torch.linalg.solve(damped, x.T @ noisy / len(x)).T[None]
    found = on_support(full, weight[None], kept, squares, ridge)
    assert not found[~kept].any()
    for row, own in enumerate(kept[0]):
        inner = damped[own][:, own]
        wanted = torch.linalg.solve(inner, (x[:, own].T @ noisy[:, row]) / len(x))
        assert torch.allclose(found[0, row, own], wanted, atol=1e-6)


def test_blocks_are_put_together_again() -> None:
    matrices = torch.arange(2 * 3 * 7.0).view(2, 3, 7)
    parts = blocks(matrices, 3)
    assert parts.shape == (6, 3, 3) and torch.equal(parts[1], matrices[0, :, 3:6])
    assert torch.equal(from_blocks(parts, 2, 7), matrices)


def test_many_columns_are_rounded_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prunus.quantisation.rounding.BLOCK", 8)
    x, y, weight = samples(20, 5)
    fit = KeptSamples()
    picked = fit.wants(len(x))
    fit.take(x[picked], y[picked])
    squares, rows = input_squares(fit, centred=True)
    assert rows == len(x)
    assert torch.allclose(squares[1], torch.cov(x[:, 8:16].T, correction=0))
    found = grid_of_layer(weight[None], [fit], Wanted(None, 8, True, True), centred=True)
    assert found.integers.shape == (1, 5, 20)
    made = x @ (found.step * found.integers[0]).T + found.shift
    assert float((made - y).square().sum() / (y - y.mean(0)).square().sum()) < 1e-3
