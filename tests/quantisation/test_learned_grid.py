"""Grids that are trained: the bits against scipy's Laplace distribution, and gradients by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import laplace
from torch import nn

from prunus.quantisation.learned_grid import (
    LEAST,
    PRIOR,
    LearnedGrid,
    attach,
    bits,
    in_steps,
    laplace_nats,
    scales,
)

DRAW = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("scale", [0.06, 0.4, 3.0])
def test_nats_are_those_of_a_laplace_distribution(scale: float) -> None:
    sizes = torch.tensor([0.0, 0.2, 0.499, 0.5, 0.501, 1.0, 1.7], dtype=torch.float64)
    found = laplace_nats(sizes, torch.tensor(scale, dtype=torch.float64))
    mass = laplace.cdf(sizes.numpy() + 0.5, scale=scale) - laplace.cdf(sizes.numpy() - 0.5, scale=scale)
    assert np.allclose(found.numpy(), -np.log(mass), rtol=1e-6, atol=1e-12)


def test_far_away_nats_are_finite_and_so_are_gradients() -> None:
    sizes = torch.tensor([0.0, 0.3, 0.5, 30.0, 1e4], requires_grad=True)
    laplace_nats(sizes, torch.tensor(0.05)).sum().backward()
    assert sizes.grad is not None and bool(sizes.grad.isfinite().all()) and bool((sizes.grad >= 0).all())


def test_scales_give_integers_the_mean_magnitude_of_row_times_column() -> None:
    matrix = torch.randn(6, 9, dtype=torch.float64, generator=DRAW) * torch.tensor([0.1, 1, 1, 2, 3, 0]).view(
        6, 1
    )
    sizes = matrix.round().abs().numpy()
    whole = sizes.mean()
    for row in range(6):
        for column in range(9):
            r = (sizes[row].sum() + PRIOR * whole) / (9 + PRIOR)
            c = (sizes[:, column].sum() + PRIOR * whole) / (6 + PRIOR)
            mean = max(r * c / whole, LEAST)
            scale = float(scales(matrix)[row, column])
            ks = np.arange(1, 400)
            mass = laplace.cdf(ks + 0.5, scale=scale) - laplace.cdf(ks - 0.5, scale=scale)
            assert 2 * (ks * mass).sum() == pytest.approx(mean, rel=1e-4)


def test_bits_of_laplacian_integers_are_near_their_entropy() -> None:
    draw = np.random.default_rng(0)
    values = torch.from_numpy(draw.laplace(scale=0.7, size=(200, 200))).round()
    _, counts = np.unique(values.numpy(), return_counts=True)
    entropy = -(counts * np.log2(counts / counts.sum())).sum()
    assert float(bits(values)) == pytest.approx(entropy, rel=0.02)


def test_zeros_cost_nearly_nothing() -> None:
    assert float(bits(torch.zeros(100, 100))) < 50
    assert float(bits(torch.zeros(7))) < 1


def test_rounding_is_passed_straight_and_the_step_learns_from_what_is_rounded() -> None:
    weight = torch.randn(5, 4, dtype=torch.float64, generator=DRAW, requires_grad=True)
    grid = LearnedGrid(weight)
    gradient = torch.randn(5, 4, dtype=torch.float64, generator=DRAW)
    step = float(grid.step().detach())
    found = grid(weight)
    assert torch.allclose(found.detach(), step * (weight.detach() / step).round(), atol=1e-12)
    found.backward(gradient)
    assert weight.grad is not None and torch.allclose(weight.grad, gradient)
    units = weight.detach() / step
    by_step = float((gradient * (units.round() - units)).sum())
    assert step == pytest.approx(float(0.5 * weight.detach().abs().mean()))
    assert grid.log_step.grad is not None
    assert float(grid.log_step.grad) == pytest.approx(10 * step * by_step)


def test_what_costs_bits_is_the_tensor_in_steps() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    weight = model[0].weight.detach().clone()
    grids = attach(model, ["0.weight", "2.bias"])
    found = [tensor.detach() for tensor in in_steps(model, list(grids))]
    assert torch.allclose(found[0] * grids["0.weight"].step().detach(), weight)
    assert found[1].shape == (2,)
