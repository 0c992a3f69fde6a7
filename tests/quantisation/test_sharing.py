"""Where the error goes: least divergence for the same bits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net
from torch import Tensor, nn

import prunus
from prunus.quantisation.sharing import BOUNDS, error_shares, shares_of

DRAW = torch.Generator().manual_seed(0)


def test_no_other_shares_of_the_same_bits_diverge_less() -> None:
    weights, sizes = {"a": 2.0, "b": 0.5, "c": 1.0}, {"a": 100, "b": 300, "c": 50}
    found = shares_of(weights, sizes)
    assert sum(n * math.log(found[name]) for name, n in sizes.items()) == pytest.approx(0, abs=1e-9)
    least = sum(weights[name] * found[name] for name in found)
    for seed in range(20):
        draw = torch.randn(3, generator=torch.Generator().manual_seed(seed)).double() * 0.3
        logs = dict(zip(found, draw.tolist()))
        mean = sum(logs[name] * n for name, n in sizes.items()) / sum(sizes.values())
        other = {name: found[name] * math.exp(logs[name] - mean) for name in found}
        assert sum(weights[name] * other[name] for name in found) >= least - 1e-12


def test_shares_stay_within_bounds() -> None:
    found = shares_of({"a": 1e9, "b": 1e-9, "c": 1.0}, {"a": 10, "b": 10, "c": 10})
    assert found["a"] == BOUNDS[0] and found["b"] == BOUNDS[1]


def run(m: nn.Module, x: Tensor) -> Tensor:
    x = m.first(x).relu()
    return (m.loud(x) + 0.01 * m.quiet(x)).mean((2, 3))


def test_a_layer_that_the_outputs_hardly_hear_may_err_more() -> None:
    torch.manual_seed(0)
    model = Net(run, first=nn.Conv2d(3, 8, 3), loud=nn.Conv2d(8, 4, 3), quiet=nn.Conv2d(8, 4, 3)).eval()
    inputs = [torch.randn(8, 3, 9, 9, generator=DRAW) for _ in range(2)]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = error_shares(model, prunus.trace(model, inputs[0]), inputs)
    assert list(found) == ["first", "loud", "quiet"]
    assert found["quiet"] > 20 * found["loud"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_is_predicted_is_what_happens() -> None:
    """With twice the share of one layer, the error that its rounding makes at the outputs doubles."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3)).eval()
    x = F.interpolate(torch.randn(16, 3, 4, 4, generator=DRAW), (10, 10))
    found = error_shares(model, prunus.trace(model, x), [x])
    ratio = found["0"] / found["2"]
    assert 0.05 < ratio < 5  # 432 weights of 16 outputs beside 1,152 of the last 8
