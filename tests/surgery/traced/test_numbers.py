"""Numbers that a forward makes of a width, as arguments of any operator: what the dense network computed
with, the compact one does too.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.paint.operators import WIDTH, Run, goes_exactly
from torch import Tensor, nn


def attended(y: Tensor) -> Tensor:
    rows = y.flatten(2).transpose(1, 2)
    scores = torch.baddbmm(
        torch.zeros(1, 1, 1, dtype=y.dtype), rows, rows.transpose(1, 2), beta=0, alpha=rows.shape[2] ** -0.5
    )
    return (scores @ rows).transpose(1, 2).reshape(y.shape)


NUMBERS: dict[str, Run] = {
    "alpha of a product": lambda m, y: attended(y),
    "alpha of a sum": lambda m, y: torch.sub(y, m.w(y), alpha=y.shape[1]),
    "leaky relu": lambda m, y: F.leaky_relu(m.w(y), 1 / y.shape[1]),
    "eps": lambda m, y: F.layer_norm(y, y.shape[2:], eps=1 / y.shape[1]),
    "power": lambda m, y: y.pow(y.shape[1] / 4),
    "full_like": lambda m, y: y * torch.full_like(y, y.shape[1]),
    "clamp": lambda m, y: y.clamp(max=1 / y.shape[1]),
    "renorm": lambda m, y: y.renorm(2, 1, 1 / y.shape[1]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_made_of_a_width_stay_what_they_were(name: str) -> None:
    goes_exactly(NUMBERS[name], w=nn.Conv2d(WIDTH, WIDTH, 1))


IN_PLACE: dict[str, Run] = {
    "mul_": lambda m, y: m.w(y).mul_(1 / y.shape[1]),
    "div_": lambda m, y: m.w(y).div_(y.shape[1]),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_factors_in_place_stay_what_they_were(name: str) -> None:
    goes_exactly(IN_PLACE[name], w=nn.Conv2d(WIDTH, WIDTH, 1))
