"""One contract for all methods that train, tiny, on five networks: what is left computes what the masked network does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.channels.nets import Dense, difference
from torch import Tensor, nn

import prunus
from prunus import data, models, scores
from prunus.channels import ChannelGraph, Plan
from prunus.methods.adversarial import adversarial_pruning
from prunus.methods.autoprune import autoprune
from prunus.methods.channels_and_layers import channels_and_layers
from prunus.methods.history import Round, history_pruning
from prunus.methods.importance import Penalty, importance_pruning
from prunus.methods.play_and_prune import play_and_prune
from prunus.methods.selective_decay import selective_decay_loss
from prunus.methods.slimming import slimming_loss
from prunus.methods.soft import SoftPruning
from prunus.methods.thresholds import threshold_pruning
from prunus.models.resnet import CifarResNet
from prunus.tasks import Task
from prunus.training import Shuffled, TrainConfig, train

EXAMPLE = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
IMAGES = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
DIGITS = data.load("digits")
MATERIAL = Task(DIGITS.train.subset(torch.arange(64)), DIGITS.train.subset(torch.arange(64, 96)), DIGITS.test, normalise=DIGITS.normalise)
BATCHES = Shuffled(MATERIAL.train, DIGITS.normalise, 32, dtype=torch.float64)
CONFIG = TrainConfig(epochs=1, batch_size=32, lr=0.01)
STEPS = 2

Left = tuple[nn.Module, Plan, nn.Module | None]
"""The compact model, what went, and the dense model that was compacted, where the method ends there and does not tune what is left."""


def fit(model: nn.Module, penalty: Penalty | None) -> None:
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels) + (penalty() if penalty else 0.0)

    train(model, MATERIAL.train, CONFIG, normalise=DIGITS.normalise, loss=loss)


def half(graph: ChannelGraph) -> Plan:
    return prunus.plan(graph, scores.norm(graph, reduce="producer"), rate=0.5)


def slimming(model: nn.Module) -> Left:
    model = copy.deepcopy(model)
    train(model, MATERIAL.train, CONFIG, normalise=DIGITS.normalise, loss=slimming_loss(model))
    graph = prunus.trace(model, EXAMPLE)
    plan = prunus.plan(graph, scores.bn_scale(graph), rate=0.5, scope="global")
    return prunus.compact(model, plan), plan, model


def selective_decay(model: nn.Module) -> Left:
    model = copy.deepcopy(model)
    graph = prunus.trace(model, EXAMPLE)
    loss = selective_decay_loss(model, graph, half, STEPS, weight_decay=1e-4, last=1.0)
    train(model, MATERIAL.train, CONFIG, normalise=DIGITS.normalise, loss=loss)
    return prunus.compact(model, half(graph)), half(graph), model


def soft(model: nn.Module) -> Left:
    model, pruning = copy.deepcopy(model), SoftPruning(EXAMPLE, 0.5)
    train(model, MATERIAL.train, replace(CONFIG, epochs=2), normalise=DIGITS.normalise, pruning=pruning)
    assert pruning.plan is not None
    return prunus.compact(model, pruning.plan), pruning.plan, model


def history(model: nn.Module) -> Left:
    found = history_pruning(copy.deepcopy(model), EXAMPLE, MATERIAL, [Round(0.5, CONFIG, CONFIG)], training=CONFIG, tolerance=100.0)
    assert found.plan is not None
    return found.model, found.plan, None


def importance(model: nn.Module) -> Left:
    found = importance_pruning(model, EXAMPLE, fit, lambda model: 50.0, 1.0, step=0.5, least=0.5, most=1)
    assert found.plan is not None
    return found.model, found.plan, None


def adversarial(model: nn.Module) -> Left:
    found = adversarial_pruning(model, EXAMPLE, BATCHES, epochs=1, strength=120.0, every=1)
    return found.model, found.plan, found.dense


def auto(model: nn.Module) -> Left:
    found = autoprune(model, EXAMPLE, BATCHES, BATCHES, epochs=1, strength=20.0)
    return found.model, found.plan, found.dense


def layers(model: nn.Module) -> Left:
    found = channels_and_layers(model, EXAMPLE, fit, 1000.0)
    return found.model, found.plan, found.dense


def played(model: nn.Module) -> Left:
    found = play_and_prune(model, EXAMPLE, fit, lambda model: 50.0, 1.0, delta=1.0, most=1)
    assert found.plan is not None
    return found.model, found.plan, None


def thresholds(model: nn.Module) -> Left:
    found = threshold_pruning(model, EXAMPLE, fit, STEPS, strength=2000.0)
    return found.model, found.plan, found.dense


METHODS: dict[str, Callable[[nn.Module], Left]] = {
    "slimming": slimming,
    "selective-decay": selective_decay,
    "soft": soft,
    "history": history,
    "importance": importance,
    "adversarial": adversarial,
    "autoprune": auto,
    "channels-and-layers": layers,
    "play-and-prune": played,
    "thresholds": thresholds,
}


class Enlarged(nn.Module):
    """A tenth of VGG-16's channels, and digits large enough for its five poolings."""

    def __init__(self) -> None:
        super().__init__()
        whole = models.vgg16_bn(10, 1).eval()
        graph = prunus.trace(whole, torch.zeros(1, 1, 32, 32))
        self.net = prunus.compact(whole, prunus.plan(graph, scores.random(graph), rate=0.9), check=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.interpolate(x, scale_factor=4.0))  # type: ignore[no-any-return]


class Pooled(nn.Module):
    """A U-Net whose maps are classes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = models.unet(10, 1, width=4, depth=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean((2, 3))  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "LeNet-5": lambda: models.lenet5(image_size=8),
    "VGG-16": Enlarged,
    "U-Net": Pooled,
    "residual": lambda: CifarResNet(1, in_channels=1),
    "dense": lambda: Dense(planes=1, classes=10),
}


def test_every_method_of_the_command_line_that_trains_is_here() -> None:
    from prunus.cli.catalogue import METHODS as NAMES

    assert set(METHODS) == set(NAMES) - {"one-shot", "greedy-norm", "snip", "critical", "gates", "cascade"}  # these remove at once, or nothing


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_ends_in_a_network_that_computes_what_the_masked_one_does(method: str, network: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[network]().double().eval()
    if method == "slimming" and network == "LeNet-5":
        pytest.skip("no batch norm")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small, plan, dense = METHODS[method](model)
    assert plan.exact and plan.removed > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    wanted = prunus.compact(model if dense is None else dense, plan)
    assert [p.shape for p in small.parameters()] == [p.shape for p in wanted.parameters()]
    assert sum(p.numel() for p in small.parameters()) == plan.after.params < plan.before.params
    if dense is not None:
        assert difference(prunus.mask(dense, plan), small.eval(), IMAGES) < 1e-11
