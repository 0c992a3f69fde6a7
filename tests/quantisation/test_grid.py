"""Grids after the training: what they promise, on networks of all kinds."""

from __future__ import annotations

import math
from statistics import mean
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.networks import random_spec
from tests.paint.nets import Net, randomised
from torch import Tensor, nn

import prunus
from prunus.coding.tensors import Grid, values_of
from prunus.errors import ConfigError, PlanError
from prunus.paint.inputs import as_arguments, map_tensors, tensors_in
from prunus.paint.model_copy import named_tensors
from prunus.quantisation.grid import quantise

DRAW = torch.Generator().manual_seed(0)
INPUTS = [
    F.interpolate(torch.randn(16, 3, 3, 3, generator=DRAW), (9, 9), mode="bilinear")
    + 0.1 * torch.randn(16, 3, 9, 9, generator=DRAW)
    for _ in range(3)
]  # neighbours are alike, as in pictures


def chain(m: nn.Module, x: Tensor) -> Tensor:
    x = m.down(m.bn(m.first(x)).relu()).relu()
    return m.head(F.adaptive_avg_pool2d(m.up(x).relu(), 2).flatten(1))


def network() -> nn.Module:
    model = randomised(
        Net(
            chain,
            first=nn.Conv2d(3, 8, 3, bias=False),
            bn=nn.BatchNorm2d(8),
            down=nn.Conv2d(8, 8, 3, groups=4, padding=1),
            up=nn.ConvTranspose2d(8, 6, 2, stride=2),
            head=nn.Linear(24, 4),
        )
    )
    return model.float().eval()


@torch.no_grad()
def error(model: nn.Module, other: nn.Module) -> float:
    """Of the outputs, as a share of their variance."""
    wanted, found = (torch.cat([one(x) for x in INPUTS]) for one in (model, other))
    return float((wanted - found).square().mean() / wanted.var())


def test_the_network_holds_exactly_what_is_coded() -> None:
    model = network()
    found = quantise(model, INPUTS, error=0.01)
    assert type(found.model) is type(model) and list(found.tensors) == list(named_tensors(model))
    for name, tensor in named_tensors(found.model).items():
        assert np.array_equal(values_of(found.tensors[name]), tensor.numpy(force=True)), name
    grids = {name for name, coded in found.tensors.items() if isinstance(coded, Grid)}
    assert grids == {
        *(f"{layer}.weight" for layer in ("first", "down", "up", "head")),
        *(f"{layer}.bias" for layer in ("bn", "down", "up", "head")),
    }
    assert bool((found.model.bn.weight == 1).all()) and not found.model.bn.running_mean.any()


def test_a_smaller_error_is_smaller_at_the_outputs() -> None:
    model = network()
    errors = [error(model, quantise(model, INPUTS, error=e).model) for e in (1e-5, 1e-3, 0.05)]
    assert errors[0] < 1e-4 < errors[1] * 100 and errors[0] < errors[1] < errors[2] < 0.5


def test_feedback_and_refit_beat_rounding_with_the_same_steps() -> None:
    model = network()
    plain = quantise(model, INPUTS, bits=4, refit=False, feedback=False)
    fed = quantise(model, INPUTS, bits=4, refit=False)
    both = quantise(model, INPUTS, bits=4)
    assert error(model, fed.model) < 0.7 * error(model, plain.model)
    assert error(model, both.model) < error(model, plain.model)


def residual(m: nn.Module, x: Tensor) -> Tensor:
    x = m.stem(x).relu()
    out: Tensor = x + m.branch(x)
    return out


def test_branches_make_up_for_the_errors_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """By some hundredths, and not in every network: on average."""
    models = [
        randomised(Net(residual, stem=nn.Conv2d(3, 8, 3), branch=nn.Conv2d(8, 8, 3, padding=1)), seed).float()
        for seed in range(8)
    ]

    def log_errors() -> list[float]:
        return [math.log(error(model, quantise(model, INPUTS, bits=3).model)) for model in models]

    together = log_errors()
    monkeypatch.setattr("prunus.quantisation.layers._is_added", lambda *args: False)
    assert mean(a - b for a, b in zip(together, log_errors())) < -0.01


@pytest.mark.parametrize("bits", [2, 5])
def test_integers_fit_into_the_bits(bits: int) -> None:
    found = quantise(network(), INPUTS, bits=bits)
    for name, coded in found.tensors.items():
        if name.endswith("weight") and isinstance(coded, Grid):
            assert 0 < np.abs(coded.integers).max() <= 2 ** (bits - 1) - 1


def test_zeros_stay_zero() -> None:
    model = network()
    with torch.no_grad():
        for name in ("first", "down", "up", "head"):
            weight = model.get_submodule(name).weight
            weight *= torch.rand(weight.shape, generator=DRAW) > 0.5
    found = quantise(model, INPUTS, error=0.002)
    for name in ("first", "down", "up", "head"):
        zero = model.get_submodule(name).weight == 0
        assert not found.model.get_submodule(name).weight[zero].any()
    assert error(model, found.model) < 0.05


def test_shares_say_where_the_error_goes() -> None:
    model = network()
    even = quantise(model, INPUTS, error=0.01, shares={})
    other = quantise(model, INPUTS, error=0.01, shares={"down": 0.01})
    steps = [coded.step for found in (even, other) if isinstance(coded := found.tensors["down.weight"], Grid)]
    assert steps[1] < 0.2 * steps[0]


@pytest.mark.parametrize("seed", [0, 3, 4, 6, 7])
def test_networks_of_all_kinds_are_near_what_they_were(seed: int) -> None:
    model, inputs = random_spec(seed, most=2).build()
    found = quantise(model, [inputs], error=1e-7, shares={})
    args, kwargs = as_arguments(inputs)
    with torch.no_grad():
        pairs = zip(tensors_in(model(*args, **kwargs)), tensors_in(found.model(*args, **kwargs)), strict=True)
    for a, b in pairs:
        assert float((a - b).abs().max()) < 0.02 * float(a.abs().max()) + 1e-3


def test_a_model_in_double_precision_is_taken() -> None:
    model = network().double()
    found = quantise(model, [map_tensors(x, lambda t: t.double()) for x in INPUTS], error=0.01)
    assert found.model.head.weight.dtype == torch.float64


@pytest.mark.parametrize(
    "wrong", [{}, {"error": 0.1, "bits": 4}, {"error": 0.0}, {"error": 1.5}, {"bits": 1}]
)
def test_either_error_or_bits_in_their_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"error|bits"):
        quantise(network(), INPUTS, **wrong)


def test_inputs_are_needed_again_and_again() -> None:
    with pytest.raises(PlanError, match="several times"):
        quantise(network(), iter(INPUTS), error=0.1)
    with pytest.raises(ConfigError, match="no batch"):
        quantise(network(), [], error=0.1)


def test_steps_are_told() -> None:
    told: list[tuple[int, int]] = []
    quantise(network(), INPUTS, error=0.1, shares={}, on_step=lambda done, total: told.append((done, total)))
    assert told == [(n, 4) for n in range(5)]


def test_the_tracing_of_it_is_the_models_own() -> None:
    found = quantise(network(), INPUTS, error=0.1)
    graph = prunus.trace(found.model, INPUTS[0])
    small = prunus.compact(found.model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.3))
    assert small(INPUTS[0]).shape == (16, 4)
