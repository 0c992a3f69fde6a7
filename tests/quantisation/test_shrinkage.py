"""Covariances from few samples."""

from __future__ import annotations

import torch

from prunus.quantisation.shrinkage import shrinkage, shrunk

DRAW = torch.Generator().manual_seed(0)


def share_of(squares: torch.Tensor, samples: int) -> float:
    """The formula, number by number."""
    columns = len(squares)
    trace = sum(float(squares[i, i]) for i in range(columns))
    of_square = sum(float(squares[i, j] * squares[j, i]) for i in range(columns) for j in range(columns))
    above = (1 - 2 / columns) * of_square + trace**2
    below = (samples + 1 - 2 / columns) * (of_square - trace**2 / columns)
    return min(above / below, 1.0) if below > 0 else 1.0


def drawn(samples: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A covariance whose inputs go together, and its estimate."""
    mixed = torch.randn(columns, columns, generator=DRAW, dtype=torch.float64)
    truth = mixed @ mixed.T / columns + 0.1 * torch.eye(columns, dtype=torch.float64)
    values = (
        torch.randn(samples, columns, generator=DRAW, dtype=torch.float64) @ torch.linalg.cholesky(truth).T
    )
    return truth, values.T @ values / samples


def test_shares_are_the_formula() -> None:
    estimates = torch.stack([drawn(samples, 6)[1] for samples in (4, 9, 50)])
    for samples in (4, 9, 50, 10_000):
        found = shrinkage(estimates, samples)
        assert torch.allclose(found, torch.tensor([share_of(one, samples) for one in estimates]).double())
    assert shrinkage(torch.eye(3, dtype=torch.float64)[None], 5).tolist() == [1.0]
    assert shrinkage(torch.zeros(1, 3, 3, dtype=torch.float64), 5).tolist() == [1.0]


def test_what_is_shrunk_is_nearer_to_the_truth_and_has_its_trace() -> None:
    for samples, columns in ((10, 40), (40, 40), (400, 40)):
        truth, estimate = drawn(samples, columns)
        found = shrunk(estimate[None], shrinkage(estimate[None], samples))[0]
        assert (found - truth).norm() < (estimate - truth).norm()
        assert torch.isclose(found.trace(), estimate.trace())


def test_many_samples_are_believed() -> None:
    _, estimate = drawn(200_000, 5)
    assert float(shrinkage(estimate[None], 200_000)) < 1e-4
