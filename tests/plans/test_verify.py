"""What cannot be compared is refused, with the layer where it begins."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.network_modes import ScaledAttention
from tests.paint.nets import random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus import Verification
from prunus.errors import VerifyError
from prunus.plans.verify import _has_broken_values, random_inputs
from prunus.surgery.slicing import operate

IMAGE = torch.zeros(2, 3, 8, 8)


class Network(nn.Module):
    def __init__(self, head: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(torch.relu(self.norm(self.first(x)))))


def half(model: nn.Module) -> prunus.Plan:
    graph = prunus.trace(model, IMAGE)
    return prunus.plan(graph, torch.arange(float(graph.num_channels)), rate=0.5)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda m: m.last.bias.fill_(math.nan), "NaN on these inputs already, first in last (Conv2d)"),
        (
            lambda m: m.last.bias[1].fill_(math.inf),
            "infinity on these inputs already, first in last (Conv2d)",
        ),
        (
            lambda m: m.norm.running_var.fill_(-1.0),
            "NaN on these inputs already, first in norm (BatchNorm2d)",
        ),
        (lambda m: m.first.weight.fill_(math.inf), "NaN on these inputs already, first in first (Conv2d)"),
        (
            lambda m: m.first.bias[0].fill_(math.nan),
            "NaN on these inputs already, first in first (Conv2d)",
        ),  # of a channel that goes
        (lambda m: m.last.weight.fill_(3e38), "already, first in last (Conv2d)"),
    ],
)
def test_a_model_that_gives_no_numbers_is_refused_with_the_first_layer_that_does(
    break_it: Callable[[Network], object], said: str
) -> None:
    torch.manual_seed(0)
    model = Network().eval()
    plan = half(model)
    small = prunus.compact(model, plan, check=False)
    with torch.no_grad():
        break_it(model)
    for call in (lambda: prunus.compact(model, plan), lambda: prunus.verify(model, plan, small)):
        with pytest.raises(VerifyError, match="The dense model gives ") as caught:
            call()
        assert said in str(caught.value)


def test_a_forward_that_makes_no_numbers_itself_is_named() -> None:
    model = Network(lambda x: (x - x) / (x - x)).eval()
    with pytest.raises(
        VerifyError, match="NaN on these inputs already, first in the forward of Network itself"
    ):
        prunus.compact(model, half(model))


def test_masked_logits_are_compared_like_any_other_value() -> None:
    model = Network(lambda x: x.masked_fill(torch.arange(4).view(1, 4, 1, 1) > 2, -math.inf)).eval()
    assert prunus.compact(model, half(model)).prunus.verification.relative < 1e-5


def test_inputs_that_are_no_numbers_are_named() -> None:
    model = Network().eval()
    plan = half(model)
    with pytest.raises(VerifyError, match="The inputs hold NaN"):
        prunus.verify(model, plan, prunus.compact(model, plan), torch.full_like(IMAGE, math.nan))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_compact_model_that_gives_no_numbers_is_a_difference_for_inexact_plans_too(value: float) -> None:
    model = Network(lambda x: x).eval()
    plan = half(model)
    small = prunus.compact(model, plan)
    with torch.no_grad():
        small.last.bias[0] = value
    with pytest.raises(VerifyError, match="The compact model"):
        prunus.verify(model, plan, small)
    found = prunus.verify(model, replace(plan, notes=("another function",)), small)
    assert found.max_abs == found.relative == math.inf and not found.exact


def test_a_masked_model_that_gives_no_numbers_where_the_dense_one_does_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Network().eval()
    plan = half(model)
    small = prunus.compact(model, plan)

    def broken(model: nn.Module, plan: prunus.Plan) -> nn.Module:
        masked = copy.deepcopy(model)
        with torch.no_grad():
            masked.norm.running_var.fill_(-1)
        return masked

    monkeypatch.setattr(sys.modules[Verification.__module__], "mask", broken)
    with pytest.raises(
        VerifyError,
        match=r"The masked model gives NaN where the dense one gives numbers, first in norm \(BatchNorm2d\)",
    ):
        prunus.verify(model, plan, small)


class Waves(nn.Module):
    """Takes complex numbers, and weighs them by complex ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
        self.weight = nn.Parameter(torch.ones(3, 6, 6, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first((x * self.weight).real))


def test_complex_inputs_are_drawn() -> None:
    model = Waves()
    graph = prunus.trace(model, torch.ones(1, 3, 6, 6, dtype=torch.complex64))
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    (drawn,), _ = random_inputs(model, plan)
    assert drawn.dtype == torch.complex64 and bool((drawn.real != 0).any()) and bool((drawn.imag != 0).any())
    small = prunus.compact(model, plan)
    with torch.no_grad():
        small.weight.mul_(1.1)
    with pytest.raises(VerifyError):
        prunus.verify(model, plan, small)


@pytest.mark.parametrize("value", [math.nan, complex(0, math.nan), complex(0, math.inf)])
def test_complex_values_that_are_not_finite_are_seen(value: complex) -> None:
    model = Waves()
    assert not _has_broken_values(model)
    with torch.no_grad():
        model.weight[0, 0, 0].fill_(value)
    assert _has_broken_values(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("folds", [True, False])
def test_shifts_that_are_rounded_to_half_precision_are_no_difference(dtype: torch.dtype, folds: bool) -> None:
    """What removed channels give behind a sigmoid goes into a bias, and is rounded there."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Sigmoid() if folds else nn.ReLU(), nn.Conv2d(8, 4, 1, bias=False)
    ).to(dtype)
    graph = prunus.trace(model, torch.randn(2, 3, 8, 8, dtype=dtype))
    plan = prunus.plan(graph, prunus.scores.random(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert ("2.bias" in small.state_dict()) is folds
    prunus.verify(model, plan, small)
    weight = small.get_submodule("2").weight
    with torch.no_grad():  # what rounding of a shift does not explain, or, where there is none, nothing does
        weight[0].mul_(1.5 if folds else 1.01)
    with pytest.raises(VerifyError, match="although the plan is exact"):
        prunus.verify(model, plan, small)


def test_multiplied_rows_are_seen_without_being_told_of(tmp_path: Path) -> None:
    """A file does not say which rows make up for attention's scale, nor does a second step of the first."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 1), ScaledAttention(8, heads=2, mode="fused"), nn.Conv2d(8, 2, 1)
        ).double()

    def step(model: nn.Module, seed: int) -> nn.Module:
        graph = prunus.trace(model, IMAGE.double())
        return prunus.compact(model, prunus.plan(graph, prunus.scores.random(graph, seed), rate=0.4))

    once = step(build(), 0)
    prunus.save(once, tmp_path / "once.safetensors")
    loaded, twice = prunus.load(tmp_path / "once.safetensors", build), step(once, 1)
    surgery: Any = twice.prunus.surgery
    assert len(surgery.rescales) > len(once.prunus.surgery.rescales) > 0
    for before, plan, after in (
        (build(), loaded.prunus.plan, loaded),
        (build(), twice.prunus.plan, twice),
        (once, twice.prunus.step, twice),
    ):
        found = prunus.verify(before, plan, after)
        assert found.exact and found.training is not None
    # the surgery that is kept is that of both steps
    again = dict(operate(build(), surgery).named_parameters())
    for name, parameter in twice.named_parameters():
        torch.testing.assert_close(again[name], parameter)


class Momentum(nn.Module):
    """An encoder whose slow copy follows it in training; it counts its forwards, and keeps what they saw."""

    def __init__(self) -> None:
        super().__init__()
        self.fast = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
        self.slow = copy.deepcopy(self.fast).requires_grad_(False)
        self.register_buffer("runs", torch.tensor(0))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        self.seen.append(x)
        if not self.training:
            return self.fast(x)
        with torch.no_grad():
            for slow, fast in zip(self.slow.parameters(), self.fast.parameters(), strict=True):
                slow.lerp_(fast, 0.5)
            wanted = self.slow(x)
        return (self.fast(x) - wanted).square()


@pytest.mark.parametrize("gradients", [True, False])
def test_checking_a_compact_model_leaves_it_as_it_is(gradients: bool) -> None:
    model, x = randomised(Momentum()), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    plan = random_plan(prunus.trace(model, x))
    small, unseen = (prunus.compact(model, plan, check=check) for check in (True, False))
    if gradients:
        prunus.verify(model, plan, small)
    for name, tensor in unseen.state_dict().items():
        assert torch.equal(tensor, small.state_dict()[name]), name
    assert small.seen == [] and int(small.runs) == int(model.runs)


class SingleInside(nn.Module):
    """Normalises in single precision, as language models do, whatever its own type is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).float()
        y = y * torch.rsqrt(y.pow(2).mean(1, keepdim=True) + 1e-6)
        return self.last(y.to(x.dtype))


def test_single_precision_inside_a_double_network_is_no_difference() -> None:
    model, x = randomised(SingleInside()), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    plan = random_plan(prunus.trace(model, x), 0.7)
    small = prunus.compact(model, plan)
    found = prunus.verify(model, plan, small, x)
    assert 1e-9 < found.relative < 1e-6
    with torch.no_grad():
        small.last.weight[0, 0] += 1e-3
    with pytest.raises(VerifyError, match="differs from the masked one"):
        prunus.verify(model, plan, small, x)


class _Attention(nn.Module):
    """Attention as torch makes it, with biases of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x)
        found: Tensor = self.last(tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        return found


def test_biases_of_zeros_are_multiplied_with_their_weights() -> None:
    """Their gradients are other multiples, though they look the same."""
    model = _Attention().double()
    graph = prunus.trace(model, torch.randn(2, 5, 3, dtype=torch.float64))
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert plan.exact and small.prunus.surgery.rescales
    assert prunus.verify(model, plan, small).training < 1e-9  # type: ignore[operator]
    object.__setattr__(small, "prunus", None)
    assert prunus.verify(model, plan, small).training < 1e-9  # type: ignore[operator]


class _Roots(Network):
    """Two layers behind each other, and a root of what the second gives."""

    def __init__(self) -> None:
        super().__init__(lambda x: x)
        self.second = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.relu(self.norm(self.first(x))))
        found: Tensor = self.last(y.sign() * y.abs().sqrt())
        return found


def test_a_masked_model_without_gradients_says_nothing_of_the_compact_one() -> None:
    """A root rises without end where a removed channel is zero, and zero times that is no number: in every
    layer in front of it.
    """
    model = randomised(_Roots())
    graph = prunus.trace(model, IMAGE.double())
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert plan.exact and prunus.verify(model, plan, small).training < 1e-9  # type: ignore[operator]
    small.train()(torch.randn(2, 3, 8, 8, dtype=torch.float64)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in small.parameters())


def test_a_backward_hook_across_channels_is_named() -> None:
    model = randomised(Network())
    model.last.register_full_backward_hook(lambda _, given, __: (given[0] / given[0].norm(),))
    graph = prunus.trace(model, IMAGE.double())
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    with pytest.raises(
        VerifyError, match=r"gradient of .*: the backward hook of last may look across channels;"
    ):
        prunus.compact(model, plan)
