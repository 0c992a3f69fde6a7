"""Norms that keep their width: exact against the masked network, in training too, whatever way the statistic
is written.
"""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, difference, pruned, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.errors import ArgumentError
from prunus.plans.plan import make_plan

IMAGE = torch.randn(2, 3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def by_hand(m: nn.Module, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    return (x - mean) / torch.sqrt((x * x).mean(1, keepdim=True) - mean**2 + 1e-6)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)


def scaled(x: Tensor, variance: Tensor, mean: Tensor) -> Tensor:
    return (x - mean) * torch.rsqrt(variance + 1e-6)


def divided(x: Tensor, deviation: Tensor, mean: Tensor) -> Tensor:
    return (x - mean) / (deviation + 1e-6)


def whole(x: Tensor) -> Tensor:
    """Rounded with the gradient of what was not, so that many are equal and zero."""
    return x + (x.round() - x).detach()


STATISTICS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "layer_norm": lambda m, x: F.layer_norm(x.movedim(1, -1), (x.shape[1],), m.weight, m.bias, 1e-6).movedim(
        -1, 1
    ),
    "layer_norm over planes": lambda m, x: F.layer_norm(x, x.shape[1:]),
    "torch.layer_norm": lambda m, x: torch.layer_norm(
        x.movedim(1, -1), (x.shape[1],), m.weight, m.bias, 1e-6, False
    ).movedim(-1, 1),
    "group_norm": lambda m, x: F.group_norm(x, 1, m.weight, m.bias),
    "torch.group_norm": lambda m, x: torch.group_norm(x, 1, m.weight),
    "rms_norm": lambda m, x: F.rms_norm(x.movedim(1, -1), (x.shape[1],), m.weight).movedim(-1, 1),
    "mean": by_hand,
    "mean of two axes": lambda m, x: x - x.mean((1, 2), keepdim=True),
    "mean of everything": lambda m, x: x - x.mean(),
    "torch.mean": lambda m, x: x * torch.mean(x, 1).unsqueeze(1),
    "var": lambda m, x: x / (x.var(1, keepdim=True) + 1e-6).sqrt(),
    "biased var": lambda m, x: x / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt(),
    "var with a correction": lambda m, x: x / (torch.var(x, (1, 3), correction=2, keepdim=True) + 1e-6),
    "std": lambda m, x: x / (1 + x.std(1, keepdim=True)),
    "var_mean": lambda m, x: scaled(x, *torch.var_mean(x, 1, keepdim=True, correction=0)),
    "std_mean": lambda m, x: divided(x, *torch.std_mean(x, 1, keepdim=True)),
    "softmax": lambda m, x: x * F.softmax(x, 1),
    "method softmax": lambda m, x: x + x.softmax(dim=1),
    "amax": lambda m, x: x * x.amax(1, keepdim=True),
    "amin": lambda m, x: x * torch.amin(x, (1, 2), keepdim=True),
    "max": lambda m, x: x * x.max(1, keepdim=True)[0],
    "min": lambda m, x: x * torch.min(x, dim=1).values.unsqueeze(1),
    "amax of whole numbers": lambda m, x: x * whole(x).amax(1, keepdim=True),
    "amin of whole numbers": lambda m, x: x * torch.amin(whole(x), (1, 3), keepdim=True),
    "max of all whole numbers": lambda m, x: x / (1 + whole(0.1 * x).abs().neg().max()),
    "max of everything": lambda m, x: x / (1 + x.max()),
    "squared distances": lambda m, x: (
        centred(x) / ((x - x.mean(1, keepdim=True)).pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
    ),
    "product of distances": lambda m, x: x * (centred(x) * centred(x)).mean((1, 2), keepdim=True),
    "distances turned round": lambda m, x: x * torch.square(x.mean(1).unsqueeze(1) - x).mean(1).unsqueeze(1),
    "mean of distances": lambda m, x: x * (x - x.mean((1, 2), keepdim=True)).mean(1, keepdim=True),
    "distances from means over pixels": lambda m, x: (
        x * (x - x.mean((2, 3), keepdim=True)).pow(2).mean(1, keepdim=True)
    ),
    "std of distances": lambda m, x: centred(x) / (1 + centred(x).std(1, keepdim=True)),
    "var of distances": lambda m, x: (
        x / (1 + (x - x.mean((1, 2, 3), keepdim=True)).flatten(1).var(1).view(-1, 1, 1, 1))
    ),
    "normalize": lambda m, x: x / x.norm(dim=1, keepdim=True).clamp_min(1e-6),
    "norm of order 1": lambda m, x: x / (1 + torch.linalg.vector_norm(x, 1, dim=1, keepdim=True)),
}


def network(run: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
    """Three convolutions, the statistic between the first two."""
    norm = Net(run)
    norm.weight, norm.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
    return randomised(
        nn.Sequential(nn.Conv2d(3, 8, 1), norm, nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    )


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_over_channels_that_go_are_exact(name: str) -> None:
    model = network(STATISTICS[name])
    plan, small = pruned(model, IMAGE)
    assert plan.exact and plan.removed == 7 and small.prunus.mode == "eager"
    assert isinstance(small[1], Net)
    again = torch.randn(3, 3, 7, 6, dtype=torch.float64)
    assert difference(prunus.mask(model, plan), small, again) < 1e-12


@pytest.mark.parametrize("name", STATISTICS)
def test_gradients_are_those_of_the_masked_network(name: str) -> None:
    model = network(STATISTICS[name]).train()
    plan, small = pruned(model, IMAGE)
    masked = prunus.mask(model, plan)
    image, other = IMAGE.clone().requires_grad_(), IMAGE.clone().requires_grad_()
    masked(image).square().sum().backward()
    small(other).square().sum().backward()
    assert image.grad is not None and other.grad is not None
    assert torch.allclose(image.grad, other.grad, rtol=1e-9, atol=1e-9)
    kept = [slot for slot in range(8) if slot not in plan.groups[0].removed]
    assert torch.allclose(masked[0].weight.grad[kept], small[0].weight.grad, rtol=1e-9, atol=1e-9)


def test_weight_standardisation_is_exact() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = F.batch_norm(
                self.weight.reshape(1, self.out_channels, -1), None, None, training=True, eps=1e-8
            ).reshape_as(self.weight)
            return self._conv_forward(x, weight, self.bias)

    class ByHand(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return self._conv_forward(
                x, weight / (weight.flatten(1).std(1).view(-1, 1, 1, 1) + 1e-5), self.bias
            )

    first = randomised(
        nn.Sequential(
            Standardised(3, 8, 3), nn.ReLU(), Standardised(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 1)
        )
    )
    plan, small = pruned(first, torch.randn(2, 3, 8, 8, dtype=torch.float64))
    assert plan.exact and plan.removed == 7
    assert isinstance(small[2], Standardised) and small[2].weight.shape == (3, 4, 3, 3)
    second = randomised(
        nn.Sequential(ByHand(3, 8, 3), nn.ReLU(), ByHand(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    )
    plan, small = pruned(second, torch.randn(2, 3, 8, 8, dtype=torch.float64))
    assert plan.exact and plan.removed == 7 and isinstance(small[2], ByHand)


def layer_normed() -> nn.Module:
    layers = (
        nn.Conv2d(3, 8, 1),
        nn.GroupNorm(1, 8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.GroupNorm(1, 6),
        nn.ReLU(),
        nn.Conv2d(6, 2, 1),
    )
    return randomised(nn.Sequential(*layers))


def test_pruned_twice_the_norms_still_divide_by_the_first_width() -> None:
    model = layer_normed()
    first = random_plan(prunus.trace(model, IMAGE), 0.3, seed=1)
    once = prunus.compact(model, first)
    inner = prunus.trace(once, IMAGE)
    second = random_plan(inner, 0.4, seed=2)
    twice = prunus.compact(once, second)
    assert second.exact and second.removed and difference(prunus.mask(once, second), twice, IMAGE) < 1e-12
    untouched = prunus.compact(
        once, prunus.plan(prunus.trace(once, IMAGE), torch.ones(inner.num_channels), rate=0.0)
    )
    assert difference(once, untouched, IMAGE) == 0


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copied", "pickled"]
)
def test_copies_keep_their_widths(again: Callable[[Any], Any]) -> None:
    _, small = pruned(layer_normed(), IMAGE)
    assert difference(small, again(small[0:7]), IMAGE) == 0


@pytest.mark.parametrize(
    "name", [name for name in STATISTICS if "norm of" not in name and name != "normalize"]
)
def test_traced_graphs_keep_their_widths(name: str) -> None:
    class Literal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = network(STATISTICS[name]), nn.Linear(4, 2)
            self.body[4] = nn.Conv2d(6, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).mean((2, 3)).view(-1, 4))

    plan, small = pruned(randomised(Literal()), IMAGE)
    assert plan.exact and plan.removed == 9 and small.prunus.mode == "traced"


class Encoded(nn.Module):
    """A transformer's layers behind a convolution: 4 heads of 4 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(16), enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


def test_norms_keep_their_width_where_torch_computes_a_layer_in_one_piece() -> None:
    model = randomised(Encoded()).eval()
    graph = prunus.trace(model, torch.randn(1, 3, 16, 16, dtype=torch.float64))
    removed = np.zeros(graph.num_channels, dtype=bool)
    for group in graph.groups:
        removed[group.channels[::2]] = True
    small = prunus.compact(model, make_plan(graph, removed))
    assert small.prunus.mode == "eager" and small.prunus.plan.exact
    layer = small.layers.layers[0]
    assert layer.self_attn.in_proj_weight.shape == (24, 8)  # as torch's fused kernel wants it
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(
            prunus.mask(model, small.prunus.plan).eval()(x), small.eval()(x), rtol=1e-10, atol=1e-10
        )


def test_the_arguments_of_a_forward_keep_their_names() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

        def forward(self, pixels: Tensor, *, scale: float = 1.0) -> Tensor:
            return self.last(centred(self.first(pixels)) * scale)

    small = pruned(Named().double().eval(), IMAGE)[1]
    assert inspect.signature(small.forward) == inspect.signature(Named().forward)
    assert type(small) is not Named and isinstance(small, Named)


def scaled_down(x: Tensor) -> Tensor:
    return x / (x.pow(2).mean(1, keepdim=True) + 0.1).sqrt()


class Pyramid(nn.Module):
    """As many norms as it has levels; `apart`: in a module of their own."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 2)
        self.norm = Net(lambda m, x: scaled_down(x)) if apart else scaled_down

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        while y.shape[-1] > 2:
            y = F.avg_pool2d(self.again(self.norm(y)).relu(), 2)
        return self.last(y.mean((2, 3)))


@pytest.mark.parametrize("side", [4, 16, 17])
def test_another_number_of_norms_than_when_it_was_traced_is_refused(side: int) -> None:
    inputs = torch.randn(3, 3, side, side, dtype=torch.float64)
    for apart in (True, False):
        model = randomised(Pyramid(apart))
        plan, small = pruned(model, torch.randn(2, 3, 8, 8, dtype=torch.float64))
        assert plan.exact and isinstance(small, Pyramid)
        if apart:
            assert difference(prunus.mask(model, plan), small, inputs) < 1e-12
        else:
            with pytest.raises(ArgumentError, match="Pyramid averages, normalises and the like"):
                small(inputs)


class Gated(nn.Module):
    """A norm between statistics that stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = scaled_down(x * torch.sigmoid(x.mean((2, 3), keepdim=True)))
        return self.last(y - y.mean((2, 3), keepdim=True))


def test_norms_inside_and_around_modules_that_keep_theirs() -> None:
    """What the inner module only passes on, the outer one sees too."""

    def run(m: nn.Module, x: Tensor) -> Tensor:
        y = m.two(scaled_down(m.one(m.first(x)).relu()))
        return m.last(centred(y).abs().mean((2, 3)))

    model = randomised(Net(run, first=nn.Conv2d(3, 8, 1), one=Gated(), two=Gated(), last=nn.Linear(8, 2)))
    plan, small = pruned(model, IMAGE)
    assert plan.exact and plan.removed == 12
    prunus.verify(model, plan, small)
    assert difference(prunus.mask(model, plan), copy.deepcopy(small), IMAGE) < 1e-12
    second = random_plan(prunus.trace(small, IMAGE), 0.3)
    assert difference(prunus.mask(small, second), prunus.compact(small, second), IMAGE) < 1e-12
