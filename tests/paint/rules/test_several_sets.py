"""Several sets of channels that share one axis, as flattened products and Kronecker products have them: the
largest set stays free.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, difference, pruned, randomised
from torch import Tensor, nn

import prunus

IMAGE = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def described(m: nn.Module, x: Tensor) -> Tensor:
    """Four clusters' sums of twelve channels, side by side."""
    y = m.first(x).relu()
    share = m.share(y).flatten(2).softmax(1)
    return torch.bmm(share, y.flatten(2).transpose(1, 2)).flatten(1)


DESCRIBED = {
    "normalised": lambda m, x: m.last(F.normalize(described(m, x))),
    "doubled": lambda m, x: m.last(described(m, x) + described(m, 2 * x)),
    "scaled": lambda m, x: m.last(described(m, x) * m.scale.weight),
    "beside others": lambda m, x: m.both(torch.cat([described(m, x), m.first(x).mean((2, 3))], 1)),
    "below others": lambda m, x: m.last(torch.cat([described(m, x), described(m, -x)])),
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_channels_of_a_flattened_product_go(name: str) -> None:
    model = randomised(
        Net(
            DESCRIBED[name],
            first=nn.Conv2d(3, 12, 3),
            share=nn.Conv2d(12, 4, 1),
            last=nn.Linear(48, 5),
            both=nn.Linear(60, 5),
            scale=nn.Linear(48, 1, bias=False),
        )
    )
    plan, small = pruned(model, IMAGE)
    assert plan.exact and small.prunus.mode == "eager"
    assert small.first.out_channels == 6 and small.share.out_channels == 4
    larger = torch.randn(3, 3, 9, 7, dtype=torch.float64)
    assert difference(prunus.mask(model, plan), small, larger) < 1e-12


class Hypercomplex(nn.Module):
    """A kernel that is a sum of Kronecker products, as those of quaternions are."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.rules = nn.Parameter(torch.ones(2, 2, 2))
        self.kernels = nn.Parameter(torch.ones(2, outputs // 2, inputs // 2, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        kernel = torch.zeros(2 * self.kernels.shape[1], 2 * self.kernels.shape[2], 3, 3, dtype=x.dtype)
        for rule, part in zip(self.rules, self.kernels):
            kernel = kernel + (rule[:, None, :, None, None, None] * part[None, :, None]).reshape(kernel.shape)
        return F.conv2d(x, kernel, padding=1)


def test_kronecker_products_lose_channels_of_their_larger_factor() -> None:
    model = randomised(
        nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), Hypercomplex(12, 16), nn.ReLU(), nn.Conv2d(16, 4, 1))
    )
    plan, small = pruned(model, IMAGE)
    assert plan.exact and small.prunus.mode == "eager"
    assert small[0].out_channels == 6 and small[2].kernels.shape == (2, 4, 3, 3, 3)
    assert small[2].rules.shape == (2, 2, 2)


@pytest.mark.parametrize("learnt", [1, 12])
def test_means_of_powers_that_are_learnt(learnt: int) -> None:
    """GeM: what is clamped above zero has every power, whatever the exponent is."""

    def run(m: nn.Module, x: Tensor) -> Tensor:
        p = m.exponent.weight.abs().view(1, -1, 1, 1) + 1
        return m.last(m.first(x).clamp(min=1e-6).pow(p).mean((2, 3), keepdim=True).pow(1 / p))

    model = randomised(
        Net(
            run,
            first=nn.Conv2d(3, 12, 3),
            exponent=nn.Linear(learnt, 1, bias=False),
            last=nn.Conv2d(12, 4, 1),
        )
    )
    plan, small = pruned(model, IMAGE)
    assert plan.exact and small.first.out_channels == 6


class Mixed(nn.Module):
    """A kernel per sample, mixed of several by a product with all of them flattened, as dynamic convolutions
    have it.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.share = nn.Linear(inputs, 3)
        self.kernels = nn.Parameter(torch.ones(3, outputs, inputs, 3, 3))
        self.shifts = nn.Parameter(torch.ones(3, outputs))

    def forward(self, x: Tensor) -> Tensor:
        share = self.share(x.mean((2, 3))).softmax(1)
        kernels = torch.mm(share, self.kernels.flatten(1)).view(-1, self.inputs, 3, 3)
        shifts = torch.mm(share, self.shifts).view(-1)
        batch, _, height, width = x.shape
        y = F.conv2d(x.view(1, -1, height, width), kernels, shifts, padding=1, groups=batch)
        return y.view(batch, self.outputs, height, width)


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 8), (8, 12), (9, 9)])
def test_flattened_kernels_lose_what_they_read_and_what_they_make(inputs: int, outputs: int) -> None:
    model = randomised(
        nn.Sequential(
            nn.Conv2d(3, inputs, 1), nn.ReLU(), Mixed(inputs, outputs), nn.ReLU(), nn.Conv2d(outputs, 4, 1)
        )
    )
    plan, small = pruned(model, IMAGE)
    assert plan.exact and small.prunus.mode == "eager"
    assert small[2].kernels.shape == (2, outputs - outputs // 2, inputs - inputs // 2, 3, 3)
    other = torch.randn(3, 3, 5, 7, dtype=torch.float64)
    assert difference(prunus.mask(model, plan), small, other) < 1e-12


@pytest.mark.parametrize("side", [2, 4])
def test_one_set_that_only_happens_to_fit_is_not_taken_apart(side: int) -> None:
    """Channels times places, read as places times channels: who meets whom depends on the size."""

    def run(m: nn.Module, x: Tensor) -> Tensor:
        y = m.first(x)
        return m.last(y.flatten(1).reshape(-1, 4).relu())

    model = randomised(Net(run, first=nn.Conv2d(3, 4, 1), last=nn.Linear(4, 2)))
    graph = prunus.trace(model, torch.randn(2, 3, side, 2, dtype=torch.float64))
    assert not graph.num_channels and any("a reshape that mixes" in pin.reason for pin in graph.pinned)
