"""An optimiser follows its parameters into the compact model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus.errors import CompactError
from prunus.plans.slices import Slices
from prunus.surgery.optimizer import transfer
from prunus.surgery.rescaling import Rescale

SLICES: Slices = {
    "0.weight": {0: np.array([0, 2])},
    "0.bias": {0: np.array([0, 2])},
    "1.weight": {1: np.array([0, 2])},
}


def network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_state_is_cut_as_its_parameters_are(kind: type[torch.optim.Optimizer]) -> None:
    model, small = network(3), network(2)
    more: dict[str, Any] = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind([{"params": model[0].parameters()}, {"params": model[1].parameters()}], lr=0.1, **more)  # type: ignore[call-arg]
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    before = {name: dict(optimizer.state[p]) for name, p in model.named_parameters()}
    transfer(optimizer, model, small, SLICES)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 2]
    for name, parameter in small.named_parameters():
        for key, value in optimizer.state[parameter].items():
            wanted = before[name][key]
            for dim, kept in SLICES.get(name, {}).items() if wanted.dim() else ():
                wanted = wanted.index_select(dim, torch.from_numpy(kept))
            assert torch.equal(value, wanted), (name, key)


def test_a_stranger_is_refused_and_nothing_changes() -> None:
    model = network(3)
    optimizer = torch.optim.SGD([*model.parameters(), nn.Parameter(torch.zeros(2))], 0.1)
    before = list(optimizer.param_groups[0]["params"])
    with pytest.raises(CompactError, match="is not one of Sequential's"):
        transfer(optimizer, model, network(2), SLICES)
    assert all(a is b for a, b in zip(optimizer.param_groups[0]["params"], before, strict=True))


@pytest.mark.parametrize("trained", [True, False])
def test_a_bias_that_folding_made_is_trained_where_its_weight_is(trained: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 2))
    small = network(2)
    held = [model[1].weight, *([model[0].weight] if trained else [])]
    optimizer = torch.optim.SGD([{"params": [one]} for one in held], lr=0.1)
    transfer(optimizer, model, small, SLICES)
    groups = [[id(one) for one in group["params"]] for group in optimizer.param_groups]
    layer = [[id(small[0].weight), id(small[0].bias)]] if trained else []
    assert groups == [[id(small[1].weight)], *layer]


def test_names_in_groups_are_those_of_their_parameters() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 2))
    small = network(2)
    optimizer = torch.optim.SGD(list(model.named_parameters()), lr=0.1)
    transfer(optimizer, model, small, SLICES)
    (group,) = optimizer.param_groups
    names = {id(parameter): name for name, parameter in small.named_parameters()}
    assert group["param_names"] == [names[id(parameter)] for parameter in group["params"]]
    assert "0.bias" in group["param_names"]


def test_state_of_rescaled_rows_is_that_of_their_gradients() -> None:
    """Weights times f have gradients divided by f, and squares of these by f squared."""
    rescales = (Rescale(("0.weight", "0.bias"), (1, 2), 0.5),)
    for kind, powers in (
        (torch.optim.Adam, {"exp_avg": 1, "exp_avg_sq": 2, "step": 0}),
        (partial(torch.optim.SGD, momentum=0.9), {"momentum_buffer": 1}),
        # what is measured as the weights are goes with them
        (torch.optim.Rprop, {"prev": 1, "step_size": -1}),
        (torch.optim.ASGD, {"ax": -1}),
        (torch.optim.Adadelta, {"square_avg": 2, "acc_delta": -2}),
    ):
        model, small = network(3), network(2)
        optimizer = kind(model.parameters(), lr=0.1)
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        before = {name: dict(optimizer.state[p]) for name, p in model.named_parameters()}
        transfer(optimizer, model, small, SLICES, rescales)
        for name in ("weight", "bias"):
            for key, power in powers.items():
                found = optimizer.state[getattr(small[0], name)][key]
                wanted = before[f"0.{name}"][key]
                if wanted.dim():
                    factor = torch.tensor([1.0, 2.0**power])  # slots 0 and 2 are left
                    wanted = wanted[[0, 2]] * factor.view(-1, *[1] * (wanted.dim() - 1))
                torch.testing.assert_close(found, wanted)


class Sharpness(torch.optim.Optimizer):
    """An optimiser around another, with groups in common and state of its own."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__([{"params": [torch.zeros(1)]}], {})
        self.inner = inner
        self.param_groups = inner.param_groups


class Slow(Sharpness):
    """One that keeps slow weights, which are no parameters."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner)
        self.slow = [{"of": [p.detach().clone() for p in group["params"]]} for group in self.param_groups]


def stepped(model: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    model(torch.ones(1, 3)).square().sum().backward()
    for optimizer in optimizers:
        optimizer.step()


def test_an_optimiser_around_another_takes_that_along() -> None:
    model, small = network(3), network(2)
    inner = torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1, momentum=0.9)
    stepped(model, inner)
    outer = Sharpness(inner)
    for parameter in model.parameters():
        outer.state[parameter]["moved"] = 2 * inner.state[parameter]["momentum_buffer"]
    before = inner.state[model[0].weight]["momentum_buffer"]
    transfer(outer, model, small, SLICES)
    assert inner.state.keys() == outer.state.keys() == set(small.parameters())
    assert [group["params"] for group in inner.param_groups] == [[p] for p in small.parameters()]
    assert torch.equal(inner.state[small[0].weight]["momentum_buffer"], before[[0, 2]])
    assert torch.equal(outer.state[small[0].weight]["moved"], 2 * before[[0, 2]])


def test_copies_of_parameters_are_refused_and_nothing_changes() -> None:
    model = network(3)
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(CompactError, match=r"Slow keeps copies of parameters of its own \(slow\)"):
        transfer(Slow(inner), model, network(2), SLICES)
    assert inner.param_groups[0]["params"] == list(model.parameters())


def test_several_optimisers_share_one_compact_model() -> None:
    model, small = network(3), network(2)
    both = [torch.optim.SGD(model[0].parameters(), 0.1, 0.9), torch.optim.Adam(model[1].parameters())]
    stepped(model, *both)
    transfer(both, model, small, SLICES)
    assert [one.param_groups[0]["params"] for one in both] == [list(layer.parameters()) for layer in small]
    assert all(one.state.keys() == set(layer.parameters()) for one, layer in zip(both, small, strict=True))
    stranger = torch.optim.SGD([nn.Parameter(torch.zeros(2))], 0.1)
    with pytest.raises(CompactError, match="is not one of Sequential's"):
        transfer([both[0], stranger], small, network(1), {})
    assert both[0].param_groups[0]["params"] == list(small[0].parameters())


def test_gradients_that_wait_for_a_step_are_cut_too() -> None:
    """Of what the optimiser trains: where batches accumulate, those before the cut count."""
    model, small = network(3), network(2)
    optimizer = torch.optim.SGD([model[0].weight, model[1].bias], lr=0.1)
    stepped(model)
    transfer(optimizer, model, small, SLICES, (Rescale(("0.weight",), (1, 2), 0.5),))
    assert torch.equal(small[0].weight.grad, model[0].weight.grad[[0, 2]] * torch.tensor([[1.0], [2.0]]))
    assert torch.equal(small[1].bias.grad, model[1].bias.grad)
    assert small[0].bias.grad is None and small[1].weight.grad is None


class Agent(nn.Module):
    """A module that trains itself."""

    def __init__(self, kind: Callable[..., torch.optim.Optimizer]) -> None:
        super().__init__()
        self.net = network(4)
        self.optimizer = kind(self.parameters(), lr=0.1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result

    def learn(self) -> None:
        self.optimizer.zero_grad()
        self(torch.ones(1, 3)).square().sum().backward()
        self.optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.Adafactor])
def test_an_optimiser_that_the_module_holds_goes_along(kind: Callable[..., torch.optim.Optimizer]) -> None:
    agent = Agent(kind)
    agent.learn()
    graph = prunus.trace(agent, torch.ones(1, 3))
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    said = pytest.warns(UserWarning, match="optimizer of the compact model begins anew: Adafactor keeps")
    with said if kind is torch.optim.Adafactor else nullcontext():
        small = prunus.compact(agent, plan)
    assert isinstance(small, Agent)
    before = small.net[0].weight.detach().clone()
    if kind is torch.optim.Adam:
        kept = small.prunus.surgery.slices["net.0.weight"][0]
        held = agent.optimizer.state[agent.net[0].weight]["exp_avg"][torch.from_numpy(kept)]
        assert torch.equal(small.optimizer.state[small.net[0].weight]["exp_avg"], held)
    small.learn()
    assert small.net[0].weight.shape == (2, 3) and not torch.equal(small.net[0].weight, before)
