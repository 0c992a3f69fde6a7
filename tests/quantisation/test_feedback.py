"""Error feedback: against a loop that solves the least squares again after every column."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from prunus.quantisation.feedback import BLOCK, feedback_factors, output_error, round_with_feedback

DRAW = torch.Generator().manual_seed(0)


def correlated(groups: int, columns: int) -> Tensor:
    """E[x x^T] of inputs that tell much about each other."""
    mix = torch.randn(groups, columns, columns, dtype=torch.float64, generator=DRAW)
    mix[..., : columns // 2] *= 0.1
    return mix @ mix.mT / columns


def solved_again(weight: Tensor, squares: Tensor, step: float, kept: Tensor) -> Tensor:
    """One row, (columns,): round a column, then find those behind it anew so that the outputs are nearest to
    those of the weights before.
    """
    current, integers = weight.clone(), torch.zeros_like(weight)
    for j in range(len(weight)):
        integers[j] = (current[j] / step).round() * kept[j]
        moved = current[j] - step * integers[j]
        rest = slice(j + 1, None)
        current[rest] += torch.linalg.solve(squares[rest, rest], squares[rest, j] * moved)
    return integers


@pytest.mark.parametrize("sparse", [False, True])
def test_it_is_least_squares_column_by_column(sparse: bool) -> None:
    squares = correlated(2, 11)
    damped = squares + 0.02 * squares.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(11)
    weight = torch.randn(2, 5, 11, dtype=torch.float64, generator=DRAW)
    kept = torch.rand(2, 5, 11, generator=DRAW) > 0.4 if sparse else torch.ones(2, 5, 11, dtype=torch.bool)
    weight = weight * kept
    found = round_with_feedback(weight, feedback_factors(squares, 0.02), 0.3, kept=kept if sparse else None)
    wanted = [
        [solved_again(row, one, 0.3, k) for row, k in zip(*rows)] for one, *rows in zip(damped, weight, kept)
    ]
    assert torch.equal(found, torch.stack([torch.stack(rows) for rows in wanted]))
    assert not found[~kept].any()


def test_blocks_of_columns_change_nothing() -> None:
    columns = 2 * BLOCK + 5
    squares = correlated(1, columns)
    weight = torch.randn(1, 3, columns, dtype=torch.float64, generator=DRAW)
    factors = feedback_factors(squares, 0.1)
    found = round_with_feedback(weight, factors, 0.25)[0, 1]
    damped = squares[0] + 0.1 * squares[0].diagonal().mean() * torch.eye(columns)
    wanted = solved_again(weight[0, 1], damped, 0.25, torch.ones(columns, dtype=torch.bool))
    assert torch.equal(found, wanted)


def test_it_beats_rounding() -> None:
    squares = correlated(1, 40)
    weight = torch.randn(1, 16, 40, dtype=torch.float64, generator=DRAW)
    fed = weight - 0.5 * round_with_feedback(weight, feedback_factors(squares), 0.5)
    rounded = weight - 0.5 * (weight / 0.5).round()
    assert output_error(fed, squares) < 0.5 * output_error(rounded, squares)


def test_integers_stay_within_what_is_asked_for() -> None:
    weight = 9 * torch.randn(1, 4, 12, dtype=torch.float64, generator=DRAW)
    found = round_with_feedback(weight, feedback_factors(correlated(1, 12)), 1.0, most=3)
    assert found.abs().max() == 3


def test_the_output_error_is_that_of_samples() -> None:
    x = torch.randn(500, 6, dtype=torch.float64, generator=DRAW)
    difference = torch.randn(1, 3, 6, dtype=torch.float64, generator=DRAW)
    wanted = float((x @ difference[0].T).square().sum(1).mean())
    assert output_error(difference, (x.T @ x / len(x))[None]) == pytest.approx(wanted)


def test_columns_that_are_always_zero_do_no_harm() -> None:
    squares = correlated(1, 6)
    squares[:, 2], squares[:, :, 2] = 0, 0
    weight = torch.randn(1, 3, 6, dtype=torch.float64, generator=DRAW)
    assert bool(round_with_feedback(weight, feedback_factors(squares), 0.1).isfinite().all())
    assert bool(feedback_factors(torch.zeros(1, 4, 4, dtype=torch.float64)).isfinite().all())
