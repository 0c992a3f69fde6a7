"""Training is part of the contract: what only train mode runs is pruned along, and what a traced graph does
not know of is not left behind.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus._foundation.seeds import seeded
from prunus.errors import VerifyError
from prunus.plans.train_check import train_difference

IMAGE = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Auxiliary(nn.Module):
    """A second head that only training runs, in the manner of GoogLeNet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.Conv2d(16, 24, 3),
        )
        self.aux = nn.Sequential(
            nn.Sigmoid(), nn.Conv2d(16, 12, 1), nn.GroupNorm(1, 12), nn.ReLU(), nn.Conv2d(12, 4, 1)
        )
        self.last, self.drop = nn.Conv2d(24, 4, 1), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Any:
        y = self.norm(self.first(x))
        out = self.last(self.drop(self.second(y.relu()).relu()))
        return (out, self.aux(y)) if self.training else out


def test_heads_that_only_training_runs_are_pruned_along() -> None:
    model = randomised(Auxiliary()).train()
    graph = prunus.trace(model, IMAGE)
    assert graph.training is not None and graph.num_channels == graph.training.num_channels == 16 + 24 + 12
    plan = random_plan(graph)
    small = prunus.compact(model, plan)
    assert plan.removed == 26 and plan.exact
    assert small.aux[1].weight.shape == (6, 8, 1, 1) and small.prunus.verification.training < 1e-9
    with seeded():
        expected = prunus.mask(model, plan).train()
        expected.drop.p = small.drop.p = 0.0
        outputs, wanted = small.train()(IMAGE), expected(IMAGE)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(outputs, wanted))


def test_training_that_cannot_be_followed_is_told() -> None:
    class Targets(Auxiliary):
        def forward(self, x: Tensor, targets: Tensor | None = None) -> Any:
            if self.training and targets is None:
                raise ValueError("targets are needed")
            return super().forward(x)

    with pytest.warns(
        UserWarning, match=r"aux\.1\.weight.*train mode cannot be followed.*targets are needed"
    ):
        graph = prunus.trace(randomised(Targets()), IMAGE)
    assert graph.training is None


def test_a_compact_model_that_trains_otherwise_is_not_verified() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)))
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    assert prunus.verify(model, plan, small).training == pytest.approx(0, abs=1e-9)
    small[1].eps = 0.5 * small[1].eps
    with torch.no_grad():
        small[1].running_var += 0.5e-5  # the same in eval mode
    with pytest.raises(VerifyError, match="In train mode the compact model differs from the masked one"):
        prunus.verify(model, plan, small)


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return -grads[0]


class Literal(nn.Module):
    """Needs the traced graph for its literal size, and has something that such a graph does not know."""

    def __init__(self, middle: Callable[[Any, Tensor], Tensor], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.norm, self.gate, self.last = (
            nn.Conv2d(3, 16, 3),
            norm or nn.BatchNorm2d(16),
            nn.Linear(16, 16),
            nn.Linear(16, 4),
        )
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x)).relu().mean((2, 3)).view(-1, 16)
        return self.last(self.middle(self, y))


class OwnTrain(Literal):
    def train(self, mode: bool = True) -> OwnTrain:
        super().train(mode)
        self.norm.eval()
        return self


def without_gradient(m: Any, y: Tensor) -> Tensor:
    with torch.no_grad():
        share = m.gate(y).sigmoid()
    return y * share


def reversed_gradient(m: Any, y: Tensor) -> Tensor:
    return m.gate(Reverse.apply(y))


def plain(m: Any, y: Tensor) -> Tensor:
    return m.gate(y)


@pytest.mark.parametrize(
    "model",
    [Literal(without_gradient), Literal(reversed_gradient), OwnTrain(plain)],
    ids=["no_grad", "custom gradient", "own train()"],
)
def test_graphs_that_would_train_otherwise_are_not_used(model: nn.Module) -> None:
    model = randomised(model).train()
    plan = random_plan(prunus.trace(model, IMAGE))
    with pytest.warns(UserWarning, match="its traced graph would train in another way"):
        small = prunus.compact(model, plan)
    assert type(small) is type(model) and small.prunus.mode == "eager"


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(16, momentum=None), nn.BatchNorm2d(16, momentum=0.3)])
def test_traced_graphs_keep_the_momentum_of_their_norms(norm: nn.Module) -> None:
    model = randomised(Literal(plain, norm)).train()
    plan = random_plan(prunus.trace(model, IMAGE))
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "traced"
    masked = prunus.mask(model, plan)
    for network in (masked, small):
        for _ in range(3):
            network(IMAGE)
    kept = [slot for slot in range(16) if slot not in plan.groups[0].removed]
    assert torch.allclose(masked.norm.running_mean[kept], small.norm.running_mean, rtol=1e-9, atol=1e-9)


def test_the_comparison_sees_outputs_gradients_and_buffers() -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1)
        ).double()

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return 2 * grads[0]

    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Scaled.apply(x)

    inputs: Any = ((IMAGE,), {})
    same = train_difference(network(), network(), {}, inputs)
    assert same is not None and same.relative == 0
    other: Any
    gradient: Any
    buffer: Any
    other, gradient, buffer = network(), network(), network()
    with torch.no_grad():
        other[0].weight *= 2
    gradient.insert(1, Twice())
    gradient = nn.ModuleDict({"0": gradient[0], "1": gradient[2], "2": gradient[1], "3": gradient[4]})
    gradient.forward = lambda x: gradient["3"](gradient["1"](gradient["2"](gradient["0"](x))))
    buffer[1].momentum = 0.5
    for changed, of in (
        (other, "the outputs"),
        (gradient, "the gradient of 0."),
        (buffer, "the buffer 1.running"),
    ):
        found = train_difference(network(), changed, {}, inputs)
        assert (
            found is not None and found.relative > 1e-3 and (found.of.startswith(of) or of == "the outputs")
        )


def test_random_numbers_are_the_same_on_both_sides() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(F.dropout(self.first(x + 0.1 * torch.randn_like(x)).relu(), 0.5, self.training))

    model = randomised(Noisy())
    plan = random_plan(prunus.trace(model, IMAGE))
    assert "random numbers" in plan.notes[0]  # two calls give two results, so nobody may call it exact
    small = prunus.compact(model, plan)
    assert small.prunus.verification.relative < 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prunus.verify(model, plan, small)


def test_buffers_of_truth_values_are_compared_too() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)
            self.register_buffer("mask", torch.tensor([True, False]))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x)) * self.mask[:, None, None]

    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = randomised(Masked()).float()
    small = prunus.compact(model, random_plan(prunus.trace(model, x)))
    assert small.prunus.verification.relative < 1e-5


@pytest.mark.parametrize(("one", "another"), [(1, 4), (1j, 4j), (1 + 1j, 1 - 1j), (1, complex(0, math.nan))])
def test_complex_values_are_compared_whole(one: complex, another: complex) -> None:
    class Counting(nn.Module):
        def __init__(self, step: complex) -> None:
            super().__init__()
            self.step, self.seen = step, nn.Buffer(torch.zeros(2, dtype=torch.complex64))
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            self.seen.add_(self.step)
            return self.weight * x

    inputs: Any = ((torch.ones(1, 2),), {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = train_difference(Counting(one), Counting(one), {}, inputs)
        other = train_difference(Counting(one), Counting(another), {}, inputs)
    assert same is not None and same.relative == 0
    assert other is not None and not other.relative < 0.1 and other.of == "the buffer seen"
