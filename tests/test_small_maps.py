"""What the benchmarks compute in another order."""

from __future__ import annotations

import pytest
import torch
from benchmarks.small_maps import small_maps_as_products
from torch import nn


@pytest.mark.parametrize("size", [(2, 2), (4, 3), (1, 4), (5, 5)])
def test_products_are_the_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=False).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    outcome = torch.randn(2, 5, *size, dtype=torch.float64)

    def gradients() -> tuple[torch.Tensor, ...]:
        made = conv(x)
        return made, *torch.autograd.grad((made * outcome).sum(), (x, conv.weight))

    expected = gradients()
    with small_maps_as_products():
        found = gradients()
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(expected, found, strict=True))
    assert torch.equal(gradients()[0], expected[0])
