"""One contract for all scores, on six networks of different make at a tiny size."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Dense
from torch import Tensor, nn

import prunus
from prunus import models, scores
from prunus.compensation import merge, refit, restore_means
from prunus.paint.graph import ChannelGraph

Score = Callable[[ChannelGraph, list[tuple[Tensor, Tensor]]], Tensor]


class Labelled(nn.Module):
    """A network for masks, as one for pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.net = models.unet(num_classes=4, width=4, depth=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean((2, 3))


class Counting(nn.Module):
    """A network that counts what it sees, and moves a mean and slow weights with every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.seen = Dense(), 0
        self.register_buffer("mean", torch.zeros(3))
        self.slow = nn.Parameter(torch.zeros(4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        self.seen += len(x)
        with torch.no_grad():
            self.mean.lerp_(x.mean((0, 2, 3)), 0.1)
            self.slow.lerp_(logits.mean(0), 0.1)
        return logits


def thin(model: nn.Module, image: Tensor) -> nn.Module:
    """An eighth of the channels, so that nothing takes long."""
    graph = prunus.trace(model.eval(), image)
    return prunus.compact(model, prunus.plan(graph, scores.random(graph), rate=0.875), check=False)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "LeNet-5": lambda: (thin(models.lenet5(4), torch.zeros(1, 1, 28, 28)), torch.zeros(12, 1, 28, 28)),
    "VGG-16": lambda: (thin(models.vgg16_bn(4), torch.zeros(1, 3, 32, 32)), torch.zeros(12, 3, 32, 32)),
    "ResNet-8": lambda: (models.CifarResNet(1, 4), torch.zeros(12, 3, 16, 16)),
    "dense": lambda: (Dense(), torch.zeros(12, 3, 12, 12)),
    "counting": lambda: (Counting(), torch.zeros(12, 3, 12, 12)),
    "U-Net": lambda: (Labelled(), torch.zeros(12, 3, 16, 16)),
}
SCORES: dict[str, Score] = {
    "norm-l1": lambda graph, pairs: scores.norm(graph, 1),
    "norm-l2": lambda graph, pairs: scores.norm(graph, 2),
    "bn-scale": lambda graph, pairs: scores.bn_scale(graph),
    "geometric-median": lambda graph, pairs: scores.geometric_median(graph),
    "similarity": lambda graph, pairs: scores.similarity(graph).scores,
    "similarity-inputs": lambda graph, pairs: (
        scores.similarity(graph, "empirical", [x for x, _ in pairs]).scores
    ),
    "activation-mean": lambda graph, pairs: scores.activation_mean(graph, [x for x, _ in pairs]),
    "reconstruction": lambda graph, pairs: scores.reconstruction(graph, [x for x, _ in pairs]),
    "thinet": lambda graph, pairs: scores.thinet(graph, [x for x, _ in pairs]),
    "lasso": lambda graph, pairs: scores.lasso(graph, [x for x, _ in pairs]),
    "nisp": lambda graph, pairs: scores.nisp(graph, [x for x, _ in pairs]),
    "taylor": lambda graph, pairs: scores.taylor(graph, pairs, F.cross_entropy),
    "pls": lambda graph, pairs: scores.pls(graph, pairs),
    "car": lambda graph, pairs: scores.car(
        graph,
        lambda model: -float(F.cross_entropy(model(pairs[0][0]), pairs[0][1])),
        layers=[
            graph.groups[0].members[0][0],
            graph.groups[-1].members[0][0],
        ],  # all of them would take minutes
        greedy=False,
    ),
    "random": lambda graph, pairs: scores.random(graph, 0),
}


@cache
def network(name: str) -> tuple[ChannelGraph, list[tuple[Tensor, Tensor]]]:
    """A trained-looking network (batch norms have seen data), and two batches of labelled inputs."""
    torch.manual_seed(0)
    model, like = NETWORKS[name]()
    pairs = [(torch.randn(like.shape), torch.arange(len(like)) % 4) for _ in range(2)]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    with torch.no_grad():
        for inputs, _ in pairs * 10:
            model(inputs)
    return prunus.trace(model.eval(), pairs[0][0][:1]), pairs


def test_every_score_of_the_command_line_is_here() -> None:
    from prunus.runs.names import SCORES as NAMES

    assert {score.value for score in NAMES} == set(SCORES)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_score_is_one_number_per_channel_and_prunes_exactly(name: str, score: str) -> None:
    if score in ("lasso", "pls"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    graph, pairs = network(name)
    if score == "bn-scale" and not any(
        isinstance(module, nn.BatchNorm2d) for module in graph.model.modules()
    ):
        pytest.skip("no batch norm")
    before = {key: tensor.clone() for key, tensor in graph.model.state_dict().items()}
    seen = getattr(graph.model, "seen", 0)
    found = SCORES[score](graph, pairs)
    assert found.shape == (graph.num_channels,) and found.dtype == torch.float64
    assert bool(found.isfinite().all()) and len(found.unique()) > 1
    assert torch.equal(found, SCORES[score](graph, pairs))
    assert all(torch.equal(tensor, before[key]) for key, tensor in graph.model.state_dict().items())
    assert getattr(graph.model, "seen", 0) == seen
    assert not graph.model.training and all(parameter.grad is None for parameter in graph.model.parameters())
    for scope in ("uniform", "global"):
        plan = prunus.plan(graph, found, macs=0.6, scope=scope)
        small = prunus.compact(graph.model, plan)
        assert small.prunus.verification.relative < 1e-4


@pytest.mark.parametrize("compensate", ["refit", "means", "merge"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_compensation_compacts_exactly(name: str, compensate: str) -> None:
    graph, pairs = network(name)
    plan = prunus.plan(graph, scores.norm(graph), rate=0.4)
    inputs = [x for x, _ in pairs]
    if compensate == "merge":
        into, scales = scores.similarity(graph).representatives(plan, graph)
        fitted = merge(graph.model, plan, into, scales)
    else:
        fitted = (refit if compensate == "refit" else restore_means)(graph.model, plan, inputs)
    small = prunus.compact(fitted, plan)
    assert small.prunus.verification.relative < 1e-4
    with torch.no_grad():
        wanted, plain, found = (
            torch.cat([one(x) for x in inputs])
            for one in (copy.deepcopy(graph.model), prunus.compact(graph.model, plan), small)
        )
    if compensate != "merge":
        assert float((found - wanted).square().mean()) < float((plain - wanted).square().mean())
