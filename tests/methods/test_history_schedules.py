"""The published schedules of history-based pruning: what their rounds take, and what is left in the end."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunus
from prunus import models, scores
from prunus.errors import ConfigError
from prunus.methods.history import channels_going
from prunus.methods.history_schedules import resnet, vgg16

CIFAR = torch.zeros(1, 3, 32, 32)


def macs_of(widths: list[int], sides: list[int]) -> int:
    """Of 3x3 convolutions in a row, on images of so many pixels a side, and the paper's head: a hidden layer
    of 512 and the output.
    """
    return (
        sum(9 * a * b * side**2 for a, b, side in zip([3, *widths], widths, sides))
        + 512 * widths[-1]
        + 10 * 512
    )


def test_a_tenth_of_every_layer_in_every_round_of_vgg() -> None:
    """80.0 % of the MACs go in 8 rounds and 83.6 % in 9; the paper reports 83.42 %."""
    model = models.vgg16_bn().eval()
    graph = prunus.trace(model, CIFAR)
    convolutions = {
        f"features.{index}": layer
        for index, layer in enumerate(model.features)
        if isinstance(layer, nn.Conv2d)
    }
    going = channels_going(graph, vgg16(1).rounds[0])
    assert {group.name: going[group.index] for group in graph.groups} == {
        name: layer.out_channels // 10 for name, layer in convolutions.items()
    }
    original = [layer.out_channels for layer in convolutions.values()]
    sides = [32] * 2 + [16] * 2 + [8] * 3 + [4] * 3 + [2] * 3
    widths, removed = original, []
    for _ in vgg16().rounds:
        widths = [width - int(width * 0.1) for width in widths]
        removed.append(1 - macs_of(widths, sides) / macs_of(original, sides))
    assert removed[7:] == pytest.approx([0.7996, 0.8361], abs=5e-5)
    rates = {name: 1 - width / before for name, width, before in zip(convolutions, widths, original)}
    plan = prunus.plan(graph, scores.norm(graph), rates=rates)
    # our head has no hidden layer
    assert 1 - plan.after.macs / plan.before.macs == pytest.approx(removed[8], abs=3e-4)


@pytest.mark.parametrize(("blocks", "removed"), [(18, 0.7496), (9, 0.749)])
def test_two_four_and_eight_filters_in_every_round_of_a_resnet(blocks: int, removed: float) -> None:
    """8-16-32 after four rounds: the 74.95 % of ResNet-110."""
    schedule = resnet()
    assert len(schedule.rounds) == 4 and schedule.tolerance == 2.0
    with torch.device("meta"):
        model = models.CifarResNet(blocks, shortcut="projection")
    graph = prunus.trace(model, CIFAR.to("meta"))
    going = channels_going(graph, schedule.rounds[0])
    assert {(group.size, going[group.index]) for group in graph.groups} == {(16, 2), (32, 4), (64, 8)}
    plan = prunus.plan(
        graph,
        torch.rand(graph.num_channels),
        rates={"conv1": 0.5} | {f"layer{stage}.*": 0.5 for stage in (1, 2, 3)},
    )
    assert {group.size - len(group.removed) for group in plan.groups} == {8, 16, 32}
    assert 1 - plan.after.macs / plan.before.macs == pytest.approx(removed, abs=5e-4)


def test_schedules_can_be_shortened() -> None:
    schedule = vgg16(6, length=0.1)
    assert schedule.training.epochs == 25
    assert [(round_.pull.epochs, round_.retrain.epochs) for round_ in schedule.rounds] == [(5, 15)] * 4 + [
        (1, 20)
    ] * 2
    assert resnet(length=1e-3).training.epochs == 1
    with pytest.raises(ConfigError, match="above 0, not 0"):
        vgg16(length=0)
