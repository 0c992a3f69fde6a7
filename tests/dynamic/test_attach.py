"""Gates on networks of every make: open ones change nothing, closed ones mask; some networks take none."""

from __future__ import annotations

import copy
from math import ceil

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus import models
from prunus.dynamic import attach
from prunus.errors import PlanError, PrunusError
from prunus.plans.plan import make_plan
from tests.dynamic.nets import NETWORKS, network, shut


@pytest.mark.parametrize("kind", ["activation", "winners", "widths"])
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_open_gates_change_nothing(name: str, kind: str) -> None:
    model, x = network(name)
    dynamic = attach(model, x, kind=kind, hidden=3)  # type: ignore[arg-type]
    assert len(dynamic.gates) >= 1
    assert torch.allclose(dynamic(x), model(x), rtol=0, atol=1e-12)
    assert torch.equal(model(x), network(name)[0](x))  # the model itself is as it was


@pytest.mark.parametrize(
    ("name", "layers"),
    [(name, "auto") for name in NETWORKS] + [("resnet14", ["layer1.0.conv2"]), ("resnet14", ["layer?.*"])],
)
@torch.no_grad()
def test_closed_channels_are_masked_ones(name: str, layers: list[str]) -> None:
    model, x = network(name)
    dynamic = attach(model, x, layers).eval()
    opens = shut(dynamic, 0.4)
    graph = prunus.trace(model, x)
    removed = np.zeros(graph.num_channels, dtype=bool)
    for group in graph.groups:
        if group.name in opens:
            removed[group.channels[~opens[group.name].numpy()]] = True
    plan = make_plan(graph, removed)
    assert torch.allclose(dynamic(x), prunus.mask(model, plan)(x), rtol=0, atol=1e-10)
    openings = dynamic.openings(x)
    assert (dynamic.macs(openings) - dynamic.gate_macs == plan.after.macs).all()
    assert dynamic.dense_macs == plan.before.macs


def test_gates_that_share_a_block_of_channels() -> None:
    model, x = network("vgg")
    dynamic = attach(model, x, block=16).eval()
    opens = shut(dynamic, 0.5)
    openings = dynamic.openings(x)
    for name, gate in dynamic.gates.items():
        assert len(gate.last.bias) == ceil(gate.channels / 16)
        assert torch.equal(openings[name].open[0] > 0, opens[name])


@torch.no_grad()
def test_any_size_and_copies() -> None:
    model, x = network("resnet14")
    dynamic = attach(model, x).eval()
    larger = torch.randn(3, 3, 48, 40, dtype=torch.float64)
    assert torch.allclose(dynamic(larger), model(larger), atol=1e-10)
    copied = copy.deepcopy(dynamic)
    shut(copied, 0.5)
    assert torch.allclose(dynamic(x), model(x), atol=1e-12) and not torch.allclose(copied(x), model(x))


class Sigmoid(nn.Module):
    """A closed channel would be a half where it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).sigmoid()).mean((2, 3))


class Preactivated(nn.Module):
    """A batch norm that does not belong to a layer changes the channels of the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1),
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = x + self.b(self.norm(x).relu())
        return self.head(x.mean((2, 3)))


def test_what_cannot_be_gated_is_said() -> None:
    x = torch.zeros(1, 3, 16, 16)
    with pytest.raises(
        PlanError,
        match=r"channels of b\S* cannot be gated: a closed channel would not be zero where it is read",
    ):
        attach(Sigmoid(), x, ["b"])
    with pytest.raises(PlanError, match=r"cannot be gated: norm\.bias changes them too"):
        attach(Preactivated().eval(), x, ["a"])
    with pytest.raises(PlanError, match="has no layer whose channels one gate could switch off"):
        attach(Preactivated().eval(), x)
    with pytest.raises(PlanError, match="matches no parameter"):
        attach(Sigmoid(), x, ["nothing"])
    with pytest.raises(PrunusError, match="not 'soft'"):
        attach(models.lenet5(), torch.zeros(1, 1, 28, 28), kind="soft")  # type: ignore[arg-type]
