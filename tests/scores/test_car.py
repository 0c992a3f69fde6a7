"""Accuracy reduction: METHODS section 9, T10, and the greedy loop again."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.paint.nets import Net, channels, randomised
from torch import Tensor, nn

import prunus
from prunus import scores
from prunus.errors import PlanError

INPUTS = torch.randn(64, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def run(m: nn.Module, x: Tensor) -> Tensor:
    return m.head(m.b(m.bn(m.a(x)).relu()).relu().mean((2, 3)))


def network() -> nn.Module:
    layers = {
        "a": nn.Conv2d(3, 5, 3),
        "bn": nn.BatchNorm2d(5),
        "b": nn.Conv2d(5, 4, 3),
        "head": nn.Linear(4, 2),
    }
    return randomised(Net(run, **layers))


def metric(reference: nn.Module):  # type: ignore[no-untyped-def]
    with torch.no_grad():
        wanted = reference(INPUTS)
    return lambda model: -float((model(INPUTS) - wanted).square().mean())


def zeroed(model: nn.Module, filters: list[int]) -> nn.Module:
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (
            copied.a.weight,
            copied.a.bias,
            copied.bn.weight,
            copied.bn.bias,
            copied.bn.running_mean,
        ):
            tensor[filters] = 0
    return copied


@pytest.mark.parametrize("greedy", [True, False])
def test_it_is_the_loss_without_each_filter(greedy: bool) -> None:
    model = network()
    evaluate = metric(model)
    found = scores.car(prunus.trace(model, INPUTS), evaluate, layers=["a"], greedy=greedy)[
        channels(prunus.trace(model, INPUTS), "a.weight")
    ]
    left, reached = list(range(5)), -float("inf")
    gone: list[int] = []
    with torch.no_grad():
        while left:
            losses = {i: -evaluate(zeroed(model, [*gone, i])) for i in left}
            for i in sorted(left, key=losses.__getitem__)[: 1 if greedy else 5]:
                reached = max(reached, losses[i])
                assert float(found[i]) == pytest.approx(reached, rel=1e-9)
                left.remove(i)
                gone.append(i)


def test_a_filter_that_is_zero_costs_nothing_and_goes_first() -> None:
    model = zeroed(network(), [3])
    graph = prunus.trace(model, INPUTS)
    before = copy.deepcopy(model.state_dict())
    mine = channels(graph, "a.weight")
    found = scores.car(graph, metric(model), layers=["a"])
    assert float(found[mine[3]]) == 0 and min(mine, key=lambda c: float(found[c])) == mine[3]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    others = [c for c in range(graph.num_channels) if c not in mine]
    norms = scores.norm(graph)  # they are not looked at
    assert torch.equal(found[others].argsort(), norms[others].argsort())


def test_equal_losses_are_decided_by_the_norm() -> None:
    graph = prunus.trace(network(), INPUTS)
    found = scores.car(graph, lambda model: 50.0, layers=["a"])
    mine = channels(graph, "a.weight")
    norms = scores.norm(graph)
    assert sorted(mine, key=lambda c: float(found[c])) == sorted(mine, key=lambda c: float(norms[c]))


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(PlanError, match="matches no parameter"):
        scores.car(prunus.trace(network(), INPUTS), lambda model: 0.0, layers=["z*"])
