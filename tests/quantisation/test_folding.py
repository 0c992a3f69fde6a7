"""Folding of batch norms: the same function, and norms that do nothing but add."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from tests.networks import Spec, networks, randomise
from tests.paint.nets import Net
from torch import Tensor, nn

import prunus
from prunus.paint.inputs import as_arguments, map_tensors, tensors_in
from prunus.quantisation.folding import condense_norms, fold_norms, unit_variance

DRAW = torch.Generator().manual_seed(0)


def apart(model: nn.Module, other: nn.Module, inputs: Any) -> float:
    """The largest difference of outputs, relative to the largest output."""
    args, kwargs = as_arguments(inputs)
    with torch.no_grad():
        pairs = list(zip(tensors_in(model(*args, **kwargs)), tensors_in(other(*args, **kwargs)), strict=True))
    return max(
        float((a - b).abs().max() / a.abs().max().clamp(min=1)) for a, b in pairs if a.is_floating_point()
    )


@settings(max_examples=8)
@given(networks(most=2))
def test_networks_of_all_kinds_compute_the_same(spec: Spec) -> None:
    model, inputs = spec.build()
    model, inputs = model.double(), map_tensors(inputs, lambda t: t.double())
    graph = prunus.trace(model, inputs)
    assert apart(model, fold_norms(model, graph), inputs) < 1e-12
    assert apart(model, condense_norms(model)[0], inputs) < 1e-12


def pair(layer: nn.Module, norm: nn.Module, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    model = Net(lambda m, x: m.norm(m.layer(x)).relu(), layer=layer, norm=norm).double()
    randomise(model, DRAW)
    return model.eval(), torch.randn(2, *shape, dtype=torch.float64, generator=DRAW)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        ((nn.Conv1d, 4, 6, 3), nn.BatchNorm1d, (4, 9)),
        ((nn.Conv2d, 4, 6, 3, 2, 1, 1, 2), nn.BatchNorm2d, (4, 9, 9)),
        ((nn.Conv3d, 4, 6, 2), nn.BatchNorm3d, (4, 5, 5, 5)),
        ((nn.ConvTranspose2d, 4, 6, 3, 2, 1, 1, 2), nn.BatchNorm2d, (4, 5, 5)),
        ((nn.Linear, 4, 6), nn.BatchNorm1d, (4,)),
    ],
)
def test_the_norm_is_left_with_a_shift(layer: Any, norm: Any, shape: tuple[int, ...], bias: bool) -> None:
    kind, *sizes = layer
    model, x = pair(kind(*sizes, bias=bias), norm(6), shape)
    folded = fold_norms(model, prunus.trace(model, x))
    assert type(folded) is type(model) and apart(model, folded, x) < 1e-13
    assert bool((folded.norm.weight == 1).all()) and not folded.norm.running_mean.any()
    assert bool((folded.norm.running_var == folded.norm.running_var[0]).all())
    assert bool((folded.norm.bias == 0).all()) == bias


def test_a_norm_without_parameters_keeps_its_mean() -> None:
    model, x = pair(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, affine=False), (3, 6, 6))
    assert apart(model, fold_norms(model, prunus.trace(model, x)), x) < 1e-13


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 1e-12, 0.1, 0.7, 3e-8, 1.1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_folded_norm_divides_by_exactly_one(eps: float, dtype: torch.dtype) -> None:
    norm = nn.BatchNorm2d(3, eps=eps).to(dtype).eval()
    assert norm.running_var is not None
    norm.running_var.fill_(unit_variance(eps, dtype))
    x = torch.randn(2, 3, 4, 4, dtype=dtype, generator=DRAW)
    assert torch.equal(norm(x), x)
    kind = np.float64 if dtype is torch.float64 else np.float32
    assert 1 / np.sqrt(norm.running_var.numpy() + kind(eps)) == pytest.approx(1.0, abs=0)


def two(m: nn.Module, x: Tensor) -> Any:
    y = m.layer(x)
    return m.norm(y), y


def twice(m: nn.Module, x: Tensor) -> Tensor:
    return m.norm(m.norm(m.layer(x)))


def beside(m: nn.Module, x: Tensor) -> Tensor:
    y = m.layer(x)
    return m.norm(y) + y


def before(m: nn.Module, x: Tensor) -> Tensor:
    return m.layer(m.norm(x))


@pytest.mark.parametrize("run", [two, twice, beside, before])
def test_what_others_read_too_is_not_folded(run: Any) -> None:
    model = Net(run, layer=nn.Conv2d(4, 4, 3, padding=1), norm=nn.BatchNorm2d(4)).double()
    randomise(model, DRAW)
    model, x = model.eval(), torch.randn(2, 4, 6, 6, dtype=torch.float64, generator=DRAW)
    folded = fold_norms(model, prunus.trace(model, x))
    assert torch.equal(folded.norm.weight, model.norm.weight) and apart(model, folded, x) == 0


def test_the_model_itself_is_not_changed() -> None:
    model, x = pair(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), (3, 6, 6))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fold_norms(model, prunus.trace(model, x))
    condense_norms(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
