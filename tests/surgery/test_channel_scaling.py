"""Numbers in front of channels: nothing at 1, the mask at 0, and a gradient there."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from tests.paint.nets import Dense, Net, channels, difference, randomised
from torch import Tensor, nn

import prunus
from prunus.errors import PlanError
from prunus.plans.plan import make_plan
from prunus.surgery.channel_scaling import ChannelFactors

IMAGE = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Numbers(nn.Module):
    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

        self.asked = 0

    def forward(self) -> Tensor:
        self.asked += 1
        return self.values


def residual(m: nn.Module, x: Tensor) -> Tensor:
    x = m.norm(m.stem(x)).relu()
    return m.head((x + m.inner(x)).relu().mean((2, 3)))


def network() -> nn.Module:
    layers = {
        "stem": nn.Conv2d(3, 6, 3, bias=False),
        "norm": nn.BatchNorm2d(6),
        "inner": nn.Conv2d(6, 6, 3, padding=1),
        "head": nn.Linear(6, 2),
    }
    return randomised(Net(residual, **layers))


@pytest.mark.parametrize("build", [network, lambda: randomised(Dense())])
def test_one_changes_nothing_and_zero_is_the_mask(build: type) -> None:
    model, plain = build(), build()
    graph = prunus.trace(model, IMAGE)
    numbers = Numbers(torch.ones(graph.num_channels))
    factors = ChannelFactors(model, graph, numbers)
    assert difference(model, plain, IMAGE) < 1e-12 and any(
        parameter is numbers.values for parameter in model.parameters()
    )
    removed = np.arange(graph.num_channels) % 3 == 0
    with torch.no_grad():
        numbers.values[torch.from_numpy(removed)] = 0
    masked = prunus.mask(plain, make_plan(prunus.trace(plain, IMAGE), removed))
    assert difference(model, masked, IMAGE) < 1e-12
    factors.fold()
    assert list(model.state_dict()) == list(plain.state_dict()) and difference(model, masked, IMAGE) < 1e-12
    assert not any(bool((tensor.abs() == 1e-20).any()) for tensor in model.parameters())


def test_behind_a_rectifier_a_number_that_is_zero_has_a_gradient() -> None:
    model = network().train()
    graph = prunus.trace(model, IMAGE)
    numbers = Numbers(torch.zeros(graph.num_channels))
    ChannelFactors(model, graph, numbers)
    model(IMAGE).sum().backward()
    assert numbers.values.grad is not None
    assert bool((numbers.values.grad[channels(graph, "norm.weight")] != 0).all())


def test_numbers_are_worked_out_once_per_run_also_in_a_copy() -> None:
    model = network()
    graph = prunus.trace(model, IMAGE)
    numbers: Any = Numbers(torch.ones(graph.num_channels))
    factors = ChannelFactors(model, graph, numbers)
    copied = copy.deepcopy(model)
    before = numbers.asked
    wanted = model(IMAGE)
    assert numbers.asked == before + 1
    assert torch.equal(copied(IMAGE), wanted) and numbers.asked == before + 1
    with torch.no_grad():
        numbers.values *= 2
    assert not torch.allclose(model(IMAGE), wanted) and torch.equal(copied(IMAGE), wanted)
    with pytest.raises(RuntimeError):
        model(IMAGE[:, :1])
    assert torch.allclose(model.norm.weight, 2 * copied.norm.weight)
    factors.fold()
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_a_product_of_ones_own_and_pinned_slots() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)))
    graph = prunus.trace(model, IMAGE)
    seen: list[tuple[Tensor, Tensor]] = []

    def product(tensor: Tensor, numbers: Tensor) -> Tensor:
        seen.append((tensor, numbers))
        return tensor * numbers**2

    bias = model[0].bias.detach().clone()
    factors = ChannelFactors(model, graph, Numbers(torch.tensor([1.0, 2.0, 3.0, 4.0])), product)
    assert torch.allclose(model[0].bias, bias * torch.tensor([1.0, 4.0, 9.0, 16.0]))
    assert {maker.axis.name for maker in factors.makers} == {"0.weight", "0.bias"}  # the output is pinned
    assert all(numbers.shape[0] == 4 and numbers.dim() == tensor.dim() for tensor, numbers in seen)
    assert all(torch.equal(maker.tensor, bias) for maker in factors.makers if maker.name == "bias")


def test_a_batch_norm_without_scale_is_refused() -> None:
    model = randomised(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False), nn.ReLU(), nn.Conv2d(4, 2, 1))
    )
    graph = prunus.trace(model, IMAGE)
    with pytest.raises(PlanError, match="1 is a batch norm without scale and shift"):
        ChannelFactors(model, graph, Numbers(torch.ones(4)))
