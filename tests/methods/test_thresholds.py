"""Trained thresholds: the pruning function, sizes, annealing, and that what is below a threshold goes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.methods.fakes import Penalty, fake
from tests.paint.nets import channels, difference
from torch import Tensor, nn

import prunus
from prunus import models
from prunus.errors import TargetError
from prunus.methods.thresholds import SHARPNESS, START, Thresholds, softly_pruned, threshold_pruning
from prunus.models.resnet import CifarResNet
from prunus.surgery.channel_scaling import ChannelFactors, makers
from prunus.training.hooks import StepCount

IMAGES = torch.randn(32, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(32) % 10


def lenet() -> nn.Module:
    torch.manual_seed(0)
    return models.lenet5(image_size=8).double()


def residual() -> nn.Module:
    torch.manual_seed(0)
    return CifarResNet(1, in_channels=1).double()


def by_hand(size: float, threshold: float, sharpness: float) -> float:
    return max(size - threshold, 0.0) + threshold / (1 + math.exp(-min(sharpness * (size - threshold), 500)))


def test_the_pruning_function_is_a_ramp_with_a_step() -> None:
    sizes = torch.linspace(0, 2, 41, dtype=torch.float64)
    for threshold, sharpness in ((0.1, 10.0), (0.7, 100.0)):
        found = softly_pruned(sizes, torch.full_like(sizes, threshold), sharpness)
        wanted = [by_hand(float(size), threshold, sharpness) for size in sizes]
        assert found.tolist() == pytest.approx(wanted)
    assert softly_pruned(torch.tensor(0.5), torch.tensor(0.5), 1e3) == 0.25
    sharp = softly_pruned(torch.tensor([0.4, 0.6]), torch.tensor(0.5), 1e4)
    assert torch.allclose(sharp, torch.tensor([0.0, 0.6]), atol=1e-6)


def test_sizes_are_norms_of_what_makes_a_channel_and_thresholds_get_gradients() -> None:
    model = residual()
    graph = prunus.trace(model, IMAGES[:1])
    thresholds = Thresholds(graph, makers(model, graph), 10, StepCount())
    plain = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    ChannelFactors(model, graph, thresholds)
    mine = channels(graph, "layer1.0.bn1.weight")
    own = (plain["layer1.0.bn1.weight"].square() + plain["layer1.0.bn1.bias"].square()).sqrt()
    assert torch.allclose(thresholds.sizes().detach()[mine].double(), own / own.mean())
    stream = channels(graph, "bn1.weight")  # made by the stem and by the branch
    squares: Any = sum(
        plain[f"{norm}.{name}"].square() for norm in ("bn1", "layer1.0.bn2") for name in ("weight", "bias")
    )
    for i, channel in enumerate(stream):
        together = [
            j
            for j, other in enumerate(stream)
            if graph.group_of_channel[other] == graph.group_of_channel[channel]
        ]
        assert len(together) == 16 or squares[i] > 0
    (model(IMAGES).square().sum()).backward()
    assert thresholds.thresholds.grad is not None and bool((thresholds.thresholds.grad != 0).any())
    factor = thresholds().detach()[mine].double()
    assert torch.allclose(model.layer1[0].bn1.weight.detach(), plain["layer1.0.bn1.weight"] * factor)
    size, t = float(thresholds.sizes().detach()[mine[0]]), START
    assert float(factor[0]) == pytest.approx(by_hand(size, t, SHARPNESS[0]) / size, rel=1e-5)


def test_the_penalty_sharpens_and_pushes_thresholds_up() -> None:
    model = lenet()
    graph = prunus.trace(model, IMAGES[:1])
    thresholds, seen = Thresholds(graph, makers(model, graph), 4, count := StepCount()), []
    for _ in range(6):
        seen.append(thresholds.sharpness)
        count.after_step(model)
    penalty = thresholds.penalty()
    assert seen == pytest.approx([10.0, 10 * 100**0.25, 100.0, 10 * 100**0.75, 1000.0, 1000.0])
    assert float(penalty.detach()) == pytest.approx(3 * math.exp(-START), rel=1e-5)
    penalty.backward()
    assert thresholds.thresholds.grad is not None and bool((thresholds.thresholds.grad < 0).all())


@pytest.mark.parametrize("build", [lenet, residual])
def test_what_is_below_its_threshold_goes_and_the_rest_is_the_masked_network(
    build: Callable[[], nn.Module],
) -> None:
    model = build().eval()
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # some channels are weak already
            if name in ("conv1.weight", "conv1.bias", "layer1.0.bn1.weight", "layer1.0.bn1.bias"):
                parameter[:5] *= 0.2
    weak = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def fit(network: nn.Module, penalty: Penalty | None) -> None:
        assert penalty is not None
        optimizer = torch.optim.SGD(network.parameters(), 0.05)
        for _ in range(30):
            optimizer.zero_grad()
            loss: Tensor = F.cross_entropy(network(IMAGES), LABELS) + penalty()
            loss.backward()
            optimizer.step()

    found = threshold_pruning(model, fake(fit, IMAGES), strength=8.0)
    mine = channels(
        prunus.trace(model, IMAGES[:1]), "conv1.weight" if build is lenet else "layer1.0.bn1.weight"
    )
    removed = found.plan.removed_in(prunus.trace(model, IMAGES[:1]))
    assert removed[mine[:5]].mean() >= 0.8 and removed[mine[5:]].mean() < 0.5
    assert found.plan.exact and bool((found.found["numbers"][torch.from_numpy(~removed)] > 0).all())
    assert found.dense is not None
    assert (
        difference(prunus.mask(found.dense, found.plan), prunus.compact(found.dense, found.plan), IMAGES)
        < 1e-12
    )
    assert before.keys() == weak.keys() and all(
        torch.equal(tensor, weak[name]) for name, tensor in model.state_dict().items()
    )


def test_what_cannot_be_done_is_said() -> None:
    for strength in (-1.0, math.nan):
        with pytest.raises(TargetError, match="The strength of the regulariser is 0 or more"):
            threshold_pruning(lenet(), fake(), strength=strength)
