"""AutoPrune: its two gradients, its turns, and that closed channels go."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import channels, difference
from torch import Tensor, nn

import prunus
from prunus import models
from prunus.errors import TargetError
from prunus.methods.autoprune import BySign, Gates, autoprune
from prunus.methods.common import Journal, Outcome
from prunus.models.resnet import CifarResNet
from prunus.surgery.channel_scaling import ChannelFactors
from prunus.tasks import Task
from prunus.training import EpochRecord, TrainConfig

IMAGES = torch.randn(48, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(48) % 10
TRAIN = list(zip(IMAGES[:32].split(16), LABELS[:32].split(16), strict=True))
HELD_OUT = [(IMAGES[32:], LABELS[32:])]
TASK = Task(TRAIN, HELD_OUT)
PLAIN = TrainConfig(epochs=1, lr=0.01)
STILL = TrainConfig(epochs=1, lr=1e-30)


def lenet() -> nn.Module:
    torch.manual_seed(0)
    return models.lenet5(image_size=8).double().eval()


def residual() -> nn.Module:
    torch.manual_seed(0)
    return CifarResNet(1, in_channels=1).double().eval()


def test_the_gradient_goes_by_the_sign_of_the_weights_and_the_slope_of_softplus() -> None:
    model = lenet()
    graph = prunus.trace(model, IMAGES[:1])
    gates = Gates(torch.linspace(-0.5, 1.5, graph.num_channels))
    weight, bias = model.conv1.weight.detach().clone(), model.conv1.bias.detach().clone()
    ChannelFactors(model, graph, gates, BySign.apply)
    F.cross_entropy(model(IMAGES), LABELS).backward()

    gated = lenet()  # w~, whose gradient is what counts
    plain = dict(gated.named_parameters())
    with torch.no_grad():
        for name, axis in (("conv1", "conv1.weight"), ("conv2", "conv2.weight"), ("fc1", "fc1.weight")):
            closed = [
                i
                for i, channel in enumerate(channels(graph, axis))
                if float(gates.numbers[channel].detach()) <= 0
            ]
            plain[f"{name}.weight"][closed], plain[f"{name}.bias"][closed] = 0, 1e-20
    F.cross_entropy(gated(IMAGES), LABELS).backward()
    for filter, channel in enumerate(channels(graph, "conv1.weight")):
        slope = 0.0
        for w, g in zip(weight[filter].flatten(), gated.conv1.weight.grad[filter].flatten(), strict=True):
            slope += float(g) * (1 if w > 0 else -1)
        slope += float(gated.conv1.bias.grad[filter]) * (1 if bias[filter] > 0 else -1)
        number = float(gates.numbers[channel].detach())
        wanted = slope / (1 + torch.tensor(-number).exp())
        assert gates.numbers.grad is not None
        assert float(gates.numbers.grad[channel]) == pytest.approx(float(wanted), rel=1e-4, abs=1e-9)
        own = model.conv1.parametrizations.weight.original.grad[filter]
        assert torch.allclose(own, gated.conv1.weight.grad[filter] * (number > 0), atol=1e-12)
    assert any(float(gates.numbers[channel].detach()) <= 0 for channel in channels(graph, "conv1.weight"))


def test_weights_learn_on_training_and_gates_on_held_out_batches() -> None:
    model, seen = lenet(), []

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        if outputs.requires_grad:  # not in evaluation
            seen.append(labels)
        return F.cross_entropy(outputs, labels)

    task = Task(TRAIN, HELD_OUT, loss=loss)
    found = autoprune(model, task, strength=0.0, gate_lr=1e-9, config=replace(PLAIN, epochs=2))
    wanted = [TRAIN[0][1], HELD_OUT[0][1], TRAIN[1][1], HELD_OUT[0][1]] * 2
    assert all(torch.equal(a, b) for a, b in zip(seen, wanted, strict=True))
    assert found.plan.removed == 0 and float(found.found["numbers"].min()) > 0
    # the weights have learned
    assert found.dense is not None and difference(model, found.dense, IMAGES) > 1e-3
    still = autoprune(model, TASK, strength=0.0, gate_lr=0.1, config=STILL)
    assert still.dense is not None
    assert difference(model, still.dense, IMAGES) < 1e-9 and not torch.equal(
        still.found["numbers"], found.found["numbers"]
    )


def test_the_regulariser_pulls_open_gates_alone() -> None:
    model = lenet()
    with torch.no_grad():
        model.fc2.weight.zero_()  # nothing depends on any channel
    found = autoprune(
        model, Task(TRAIN[:1], HELD_OUT), strength=1.0, gate_lr=0.06, config=replace(STILL, epochs=5)
    )
    for group, size in (("conv1.weight", 20), ("conv2.weight", 50)):
        mine = found.found["numbers"][channels(prunus.trace(model, IMAGES[:1]), group)].sort().values
        ranks = torch.arange(1.0, size + 1) / size
        for rank, number in zip(ranks, mine, strict=True):
            assert -0.0601 < float(number) <= max(0.0, float(rank) - 0.3) + 1e-6
        assert torch.allclose(mine[-1], torch.tensor(0.7))


@pytest.mark.parametrize("build", [lenet, residual])
def test_what_is_left_is_the_gated_network(build: Callable[[], nn.Module]) -> None:
    model = build()
    before = copy.deepcopy(model.state_dict())
    found = autoprune(model, TASK, strength=1.0, gate_lr=0.05, config=replace(PLAIN, epochs=4))
    assert found.dense is not None
    small = prunus.compact(found.dense, found.plan)
    assert found.plan.exact and 0 < found.plan.removed < len(found.found["numbers"]) - len(found.plan.groups)
    assert difference(prunus.mask(found.dense, found.plan), small, IMAGES) < 1e-12
    assert difference(found.dense, small, IMAGES) < 1e-12
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_training_that_was_broken_off_goes_on_as_it_would_have(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def once(path: Path | None, stop: int) -> Outcome:
        def told(step: str, record: EpochRecord) -> None:
            if record.epoch == stop:
                raise StopError

        journal = Journal(path, resume=True, on_epoch=told)
        return autoprune(
            lenet(), TASK, strength=1.0, gate_lr=0.05, config=replace(PLAIN, epochs=3), journal=journal
        )

    whole, path = once(None, -1), tmp_path / "checkpoint"
    with pytest.raises(StopError):
        once(path, 2)
    resumed = once(path, -1)
    assert (
        torch.equal(whole.found["numbers"], resumed.found["numbers"])
        and whole.plan.groups == resumed.plan.groups
    )


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(TargetError, match="learning rate is above 0"):
        autoprune(lenet(), TASK, strength=0.1, gate_lr=0.0)
    nobody: tuple[Any, ...] = (None, [])
    for held_out in nobody:
        with pytest.raises(TargetError, match="held-out"):
            autoprune(lenet(), Task(TRAIN, held_out), config=PLAIN)
