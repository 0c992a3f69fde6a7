"""Operators of the user's own, registered with torch.library, that say what they do to channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.paint.operators import Between, goes_exactly, halved
from torch import Tensor, nn

import prunus
from prunus.errors import ArgumentError, TraceError
from prunus.paint.call import Call
from prunus.paint.records import Paint
from prunus.paint.rules import RULES


@torch.library.custom_op("prunus_tests::swish", mutates_args=())
def swish(x: Tensor) -> Tensor:
    return x * x.sigmoid()


@torch.library.custom_op("prunus_tests::blur", mutates_args=())
def blur(x: Tensor, strength: Tensor) -> Tensor:
    mean = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    return x + strength[:, None, None] * (mean - x)


@torch.library.custom_op("prunus_tests::soft", mutates_args=())
def soft(x: Tensor, dim: int) -> Tensor:
    return x.softmax(dim)


for operator in (swish, blur, soft):
    operator.register_fake(lambda x, *others: torch.empty_like(x))


@torch.library.custom_op("prunus_tests::halve", mutates_args=())
def halve(x: Tensor) -> Tensor:  # with no form for meta tensors
    return x[:, :, ::2, ::2].clone()


@pytest.fixture(autouse=True)
def _rules_of_this_test() -> Iterator[None]:
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


def blurred(m: Between, y: Tensor) -> Tensor:
    return torch.ops.prunus_tests.blur(y, m.strength)


def test_without_a_rule_an_operator_pins() -> None:
    result = halved(lambda m, y: torch.ops.prunus_tests.swish(y))
    assert result.graph.num_channels == 0
    assert "operator prunus_tests::swish has no rule" in {pin.reason for pin in result.graph.pinned}


def test_a_pointwise_operator() -> None:
    prunus.paint_rule("prunus_tests::swish", like="pointwise")
    assert goes_exactly(lambda m, y: torch.ops.prunus_tests.swish(y)).mode == "eager"


def test_an_operator_per_channel_with_a_number_per_channel() -> None:
    prunus.paint_rule("prunus_tests::blur", like="per channel")
    assert goes_exactly(blurred, strength=nn.Parameter(torch.zeros(8))).removed == 4


def test_an_operator_like_one_of_torch() -> None:
    prunus.paint_rule("prunus_tests::soft", like="_softmax")
    assert goes_exactly(lambda m, y: y * torch.ops.prunus_tests.soft(y, 3)).mode == "eager"
    assert "softmax across the channels" in halved(lambda m, y: y * torch.ops.prunus_tests.soft(y, 1)).notes


def test_a_rule_of_its_own() -> None:
    seen = []

    @prunus.paint_rule("prunus_tests::swish")
    def rule(call: Call) -> list[Paint]:
        seen.append(call.operator)
        return [call.paint(call.tensors[0])]

    assert goes_exactly(lambda m, y: torch.ops.prunus_tests.swish(y)).removed == 4
    assert "prunus_tests::swish" in seen


def test_what_cannot_be_registered_is_said() -> None:
    with pytest.raises(ArgumentError, match="There is no operator 'prunus_tests::none'"):
        prunus.paint_rule("prunus_tests::none", like="pointwise")
    with pytest.raises(ArgumentError, match="Nothing is known of an operator like 'elementwise'"):
        prunus.paint_rule("prunus_tests::swish", like="elementwise")


def test_an_operator_that_does_not_run_on_meta_tensors_is_run_on_zeros() -> None:
    result = halved(lambda m, y: m.second(torch.ops.prunus_tests.halve(y)).relu(), second=nn.Conv2d(8, 8, 1))
    assert result.removed == result.asked > 0 and result.exact
    assert "operator prunus_tests::halve has no rule" in {pin.reason for pin in result.graph.pinned}


@pytest.mark.parametrize("channelwise", [False, True])
def test_learned_and_fixed_fake_quantisation_leaves_channels_free(channelwise: bool) -> None:
    def run(m: Between, y: Tensor) -> Tensor:
        if channelwise:
            return torch._fake_quantize_learnable_per_channel_affine(
                y.float(), m.scale.float(), m.zero.float(), 1, -128, 127, 1.0
            ).to(y.dtype)
        return torch.fake_quantize_per_tensor_affine(y.float(), 0.1, 0, -128, 127).to(y.dtype)

    goes_exactly(run, scale=nn.Parameter(torch.ones(8)), zero=nn.Parameter(torch.zeros(8)))


@pytest.mark.parametrize("measured", [False, True])
def test_ranges_that_are_measured_across_channels_are_not_those_of_what_is_left(measured: bool) -> None:
    class Observed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("on", torch.tensor([int(measured)]))
            self.register_buffer("always", torch.ones(1, dtype=torch.int64))
            for name, value in (("low", -1.0), ("high", 1.0), ("scale", 0.01)):
                self.register_buffer(name, torch.full((1,), value))
            self.register_buffer("zero", torch.zeros(1, dtype=torch.int32))

        def forward(self, x: Tensor) -> Tensor:
            ranges = [one.float() for one in (self.low, self.high, self.scale)]
            quantise: Any = torch.fused_moving_avg_obs_fake_quant
            quantised: Tensor = quantise(
                x.float(), self.on, self.always, *ranges, self.zero, 0.01, -128, 127, -1, False, False
            )
            return quantised.to(x.dtype)

    result = halved(lambda m, y: m.quantised(y), quantised=Observed())
    assert result.removed == result.asked > 0
    assert result.exact is not measured
    assert ("ranges measured across the channels" in str(result.notes)) is measured


def test_an_operator_whose_shape_depends_on_values_is_named() -> None:
    with pytest.raises(TraceError, match="nonzero"):
        halved(lambda m, y: y * len(y.nonzero()))
