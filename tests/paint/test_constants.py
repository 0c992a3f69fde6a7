"""What a removed channel holds may depend on the size of the inputs; then it is in no bias, and other sizes
are exact as well.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.paint.nets import Net, difference, pruned, randomised
from torch import Tensor, nn

import prunus

SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "batch": lambda y, x: y + x.shape[0] * 0.5,
    "length": lambda y, x: y - len(x),
    "height": lambda y, x: torch.cos(y + x.shape[2]),
    "tensor": lambda y, x: y + torch.full((1,), float(x.shape[0]), dtype=x.dtype),
    "exponent": lambda y, x: torch.exp(y / x.shape[3]),
    "no size": lambda y, x: y.sigmoid(),
}


def image(batch: int, height: int = 8, width: int = 8) -> Tensor:
    return torch.randn(
        batch, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(batch)
    )


@pytest.mark.parametrize("how", SUMS)
def test_constants_of_removed_channels_follow_the_size(how: str) -> None:
    layers = {"a": nn.Conv2d(3, 16, 3, padding=1), "b": nn.Conv2d(16, 4, 1)}
    model = randomised(Net(lambda s, x: s.b(SUMS[how](s.a(x).relu(), x)), **layers))
    plan, small = pruned(model, image(2))
    masked = prunus.mask(model, plan)
    assert plan.exact and plan.removed == 8
    assert all(difference(masked, small, x) < 1e-12 for x in (image(1), image(5), image(3, 12, 10)))


def test_a_constant_that_is_the_same_everywhere_goes_into_the_bias() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 16, 3), nn.Sigmoid(), nn.Conv2d(16, 4, 1)))
    plan, small = pruned(model, image(2))
    assert plan.exact and not torch.equal(small[2].bias, model[2].bias)
