"""Muon's steps are those of its definition, and follow channels through surgery."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunus.training.muon import Muon, orthogonalised


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Conv2d(8, 8, (3, 1), padding=(1, 0)),
        nn.Conv2d(8, 8, (1, 3), padding=(0, 1)),
        nn.Flatten(),
        nn.Linear(32, 2),
    ).double()


def gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(4, 27), (27, 4), (6, 6), (1, 9)])
def test_singular_values_become_about_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = orthogonalised(matrix)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5 and values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ found @ right.T
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-9, rtol=0)


def nearest(matrix: Tensor) -> Tensor:
    """The same iteration, on singular values alone."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    values = values / (values.square().sum().sqrt() + 1e-7)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ torch.diag(values) @ right


def test_kernels_take_orthogonal_steps_and_all_else_those_of_adamw() -> None:
    model, twin = network(), network()
    optimizer = Muon(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)
    others = [p for p in twin.parameters() if p.dim() < 3]
    adamw = torch.optim.AdamW(others, lr=0.01, weight_decay=0.1)
    kernels = [one for one in twin.parameters() if one.dim() > 2]
    momenta = [torch.zeros_like(one).flatten(1) for one in kernels]
    for step in range(3):
        for one in (model, twin):
            gradients(one, step)
        optimizer.step()
        adamw.step()
        for number, kernel in enumerate(kernels):
            assert kernel.grad is not None
            gradient = kernel.grad.flatten(1)
            momenta[number] = 0.9 * momenta[number] + 0.1 * gradient
            ahead = 0.1 * gradient + 0.9 * momenta[number]
            change = 0.2 * max(ahead.shape) ** 0.5 * nearest(ahead)
            with torch.no_grad():
                kernel.copy_(kernel * (1 - 0.01 * 0.1) - 0.01 * change.view(kernel.shape))
        for ours, theirs in zip(model.parameters(), twin.parameters()):
            torch.testing.assert_close(ours, theirs)


def test_memory_formats_take_the_same_steps() -> None:
    ways = []
    for memory in (torch.contiguous_format, torch.channels_last):
        model = network().to(memory_format=memory)  # type: ignore[call-overload]
        optimizer = Muon(model.parameters(), lr=0.01)
        gradients(model, 0)
        optimizer.step()
        ways.append(model.state_dict())
        assert model[0].weight.is_contiguous(memory_format=memory)
    for first, second in zip(ways[0].values(), ways[1].values()):
        torch.testing.assert_close(first, second)


def test_single_precision_finds_them_where_singular_values_are_far_apart() -> None:
    generator = torch.Generator().manual_seed(2)
    left, right = (
        torch.linalg.qr(torch.randn(n, 16, generator=generator, dtype=torch.float64))[0] for n in (16, 90)
    )
    matrix = left @ torch.diag(torch.logspace(0, -6, 16, dtype=torch.float64)) @ right.T
    exact, single = nearest(matrix), orthogonalised(matrix.float()).double()
    assert (single - exact).norm() < 5e-3 * exact.norm()


def test_what_has_no_gradient_stays() -> None:
    model = network()
    before = model[0].weight.clone()
    Muon(model.parameters(), lr=1.0, weight_decay=0.5).step()
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("shape", [(4, 27), (27, 4), (6, 6)])
def test_complex_matrices_keep_their_singular_vectors(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    found = orthogonalised(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.mH @ found @ right.mH
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-9, rtol=0)
    values = inner.diagonal().real
    assert values.min() > 0.5 and values.max() < 1.3 and inner.imag.abs().max() < 1e-9


def test_complex_parameters_take_the_steps_of_adamw() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, dtype=torch.complex128, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    ways = Muon([ours], lr=0.01, weight_decay=0.1), torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for _ in range(3):
        ours.grad = torch.randn(3, 4, dtype=torch.complex128, generator=generator)
        theirs.grad = ours.grad.clone()
        for one in ways:
            one.step()
        torch.testing.assert_close(ours, theirs)
    assert ways[0].state[ours]["exp_avg"].shape == ours.shape  # which surgery cuts like the parameter
