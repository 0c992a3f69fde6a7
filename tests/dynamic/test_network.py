"""A budget for gates: what they cost, how strict they must be for it, and gates in files."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunus.dynamic import DynamicNetwork, activity, attach, skipping
from prunus.errors import CompactError, ConfigError, PrunusError, TargetError
from tests.dynamic.nets import network

KINDS = ["activation", "winners", "widths"]


def gated(kind: str, name: str = "vgg", batch: int = 24) -> tuple[DynamicNetwork, Tensor]:
    """Gates that tell inputs apart."""
    model, x = network(name, batch)
    dynamic = attach(model, x[:1], kind=kind).eval()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(4)
    for gate in dynamic.gates.values():
        nn.init.normal_(gate.last.weight, std=0.2, generator=generator)
        nn.init.normal_(gate.last.bias, std=0.2, generator=generator)
    return dynamic, x


@pytest.mark.parametrize("kind", ["activation", "widths"])
def test_expected_macs_are_counted_layer_by_layer_and_have_a_gradient(kind: str) -> None:
    dynamic, x = gated(kind)
    dynamic.train()(x)
    counts = {name: opening.open.detach().sum(1) for name, opening in dynamic._live.openings.items()}
    total, before = (
        torch.full((len(x),), float(dynamic.gate_macs), dtype=torch.float64),
        3.0 * torch.ones(len(x), dtype=torch.float64),
    )
    side = 16 * 16
    for name, layer in dynamic.graph.model.named_modules():
        if isinstance(layer, nn.MaxPool2d):
            side //= 4
        elif isinstance(layer, nn.Conv2d):
            made = counts.get(
                name.removesuffix(".layer"),
                torch.full((len(x),), float(layer.out_channels), dtype=torch.float64),
            )
            total += 9 * side * before * made
            before = made
        elif isinstance(layer, nn.Linear) and ".gates" not in name:
            total += before * layer.out_features
    expected = dynamic.expected()
    assert float(expected.detach()) == pytest.approx(float(total.mean()) / dynamic.dense_macs, rel=1e-9)
    expected.backward()
    assert all(
        gate.last.bias.grad is not None and bool(gate.last.bias.grad.any()) for gate in dynamic.gates.values()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_is_kept_on_the_inputs_of_the_calibration(kind: str) -> None:
    dynamic, x = gated(kind)
    dynamic.calibrate([x], points=24)
    macs = [point[1] for point in dynamic.knob]
    assert macs == sorted(macs, reverse=True) and len(macs) == 24
    assert dynamic.strictness == 0
    for share in (0.3, 0.6, 0.9):
        budget = macs[-1] + share * (macs[0] - macs[-1])
        dynamic.budget = budget
        assert dynamic.budget == pytest.approx(budget)
        assert activity(dynamic, [x]).expected == pytest.approx(budget, abs=0.08)
    dynamic.budget = macs[0]
    assert activity(dynamic, [x]).expected == pytest.approx(macs[0])


def test_budgets_that_cannot_be() -> None:
    dynamic, x = gated("activation")
    with pytest.raises(ConfigError, match="calibrate the gates"):
        dynamic.budget = 0.5
    with pytest.raises(PrunusError, match="no batch"):
        dynamic.calibrate([])
    dynamic.calibrate([x], points=4)
    with pytest.raises(TargetError, match="These gates reach from"):
        dynamic.budget = 0.001


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_skipping_form_has_a_budget_of_its_own(kind: str) -> None:
    dynamic, x = gated(kind, batch=6)
    dynamic.calibrate([x])
    fast = skipping(dynamic, x[:1])
    before = dynamic(x)
    for share in (0.35, 0.7):
        fast.budget = dynamic.knob[-1][1] + share * (dynamic.knob[0][1] - dynamic.knob[-1][1])
        assert torch.equal(dynamic(x), before)
        other, _ = gated(kind, batch=6)
        other.tighten(fast.strictness)
        for one in x:
            assert torch.allclose(fast(one[None]), other(one[None]), rtol=0, atol=1e-9)


def test_the_skipping_form_is_made_of_a_gated_network_and_not_the_other_way_round() -> None:
    dynamic, x = gated("activation")
    fast = skipping(dynamic, x[:1])
    with pytest.raises(ConfigError, match="ask the network that it was made of"):
        fast.plain()
    with pytest.raises(CompactError, match="skips already"):
        skipping(fast, x[:1])


@pytest.mark.parametrize("name", ["resnet14", "separable", "lenet5"])
@torch.no_grad()
def test_without_its_gates_a_network_is_what_it_was(name: str) -> None:
    model, x = network(name)
    plain = attach(model, x).plain()
    assert torch.equal(plain(x), model(x))
    assert list(plain.state_dict()) == list(model.state_dict())
