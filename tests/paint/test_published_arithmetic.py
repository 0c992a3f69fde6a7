"""Multiply-accumulates and parameters that papers publish, to the unit, with the
conventions that they use.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import prunus
from prunus.models import resnet20, resnet32, resnet56, resnet110, vgg16_bn

IMAGE = torch.empty(1, 3, 32, 32, device="meta")


def sfp_macs(model: nn.Module, rate: float) -> int:
    """MACs as the script of soft filter pruning (He et al. 2018) counts them, from the layers of our own
    option-A ResNet.

    Convention: convolutions only, no linear layer; the widths are fractions of the full ones, not rounded, r
        = 1 - rate. The first convolution
    and the first of each block keep r of their filters and see their whole input (the shortcut stays full);
    the second of a block loses inputs and filters, r * r. In the very first block both convolutions are
    counted r * r. The sum is truncated.
    """
    kept, total = 1 - rate, 0.0
    for layer in prunus.trace(model, IMAGE).layers():
        if layer.op == "convolution":
            whole_input = layer.name == "conv1" or (
                layer.name.endswith("conv1") and layer.name != "layer1.0.conv1"
            )
            total += layer.macs_before * (kept if whole_input else kept * kept)
    return int(total)


@pytest.mark.parametrize(
    ("build", "dense", "reductions"),
    [
        (resnet20, 40_550_000, (15.24, 29.31, 42.22)),
        (resnet32, 68_860_000, (14.93, 28.77, 41.51)),
        (resnet56, 125_490_000, (14.74, 28.42, 41.06)),
        (resnet110, 252_890_000, (14.62, 28.21, 40.78)),
    ],
)
def test_soft_filter_pruning_table(
    build: Callable[[], nn.Module], dense: int, reductions: tuple[float, ...]
) -> None:
    """Reductions in per cent at rates of 10, 20 and 30 per cent, two decimals."""
    model = build()
    full = sfp_macs(model, 0)
    assert round(full, -4) == dense
    assert [round(100 * (1 - sfp_macs(model, rate) / full), 2) for rate in (0.1, 0.2, 0.3)] == list(
        reductions
    )


def test_soft_filter_pruning_of_resnet110_to_the_unit() -> None:
    model = resnet110()
    assert sfp_macs(model, 0) == 252_887_040
    assert sfp_macs(model, 0.3) == 149_771_059


def pfec_rates(blocks: int, stage_rates: tuple[float, ...], skip: tuple[int, ...]) -> dict[str, float]:
    """Rates of "Pruning Filters for Efficient ConvNets" (Li et al. 2017) for a ResNet.

    Reading that gives the published numbers: convolutions are numbered in their order, the stem is 1; only
    the first convolution of a block is pruned, which has an even number, 2 for the first block; those with a
    number in `skip` stay. int(n * (1 - rate)) filters are *kept*.
    """
    rates = {}
    for stage, rate in enumerate(stage_rates):
        for block in range(blocks):
            width, number = 16 << stage, 2 * (stage * blocks + block + 1)
            kept = width if number in skip else int(width * (1 - rate))
            rates[f"layer{stage + 1}.{block}.conv1"] = 1 - kept / width
    return rates


def pfec_resnet(blocks: int, rates: dict[str, float]) -> tuple[int, int]:
    """(MACs, parameters without batch norm) of an option-A ResNet by hand: convolutions
    and the linear layer.
    """
    macs, params = 3 * 16 * 9 * 1024, 3 * 16 * 9
    for stage in range(3):
        width, pixels = 16 << stage, 1024 >> (2 * stage)
        for block in range(blocks):
            inputs = width // 2 if stage and not block else width
            middle = round(width * (1 - rates[f"layer{stage + 1}.{block}.conv1"]))
            macs += 9 * pixels * middle * (inputs + width)
            params += 9 * middle * (inputs + width)
    return macs + 640, params + 650


@pytest.mark.parametrize(
    ("build", "blocks", "stage_rates", "skip", "macs", "params"),
    [
        (resnet56, 9, (0.6, 0.3, 0.1), (16, 18, 20, 34, 38, 54), (0.125, 0.091), (0.85, 0.73)),
        (resnet110, 18, (0.5, 0.4, 0.3), (36, 38, 74), (0.253, 0.155), (1.72, 1.16)),
    ],
)
def test_pruning_filters_resnet_b(
    build: Callable[[], nn.Module],
    blocks: int,
    stage_rates: tuple[float, ...],
    skip: tuple[int, ...],
    macs: tuple[float, ...],
    params: tuple[float, ...],
) -> None:
    """Published: GMACs of the dense and the pruned network to three decimals, and millions of parameters to
    two, batch norm not counted.
    """
    graph = prunus.trace(build(), IMAGE)
    rates = pfec_rates(blocks, stage_rates, skip)
    plan = prunus.plan(graph, prunus.scores.norm(graph, p=1), rates=rates)
    norms = [sum(a.channels.size for a in graph.axes if ".bn" in f".{a.name}" and a.is_parameter)]
    norms.append(norms[0] - 2 * plan.removed)
    without = [cost.params - n for cost, n in zip((plan.before, plan.after), norms)]
    assert (plan.after.macs, without[1]) == pfec_resnet(blocks, rates)
    assert (round(plan.before.macs / 1e9, 3), round(plan.after.macs / 1e9, 3)) == macs
    assert tuple(round(n / 1e6, 2) for n in without) == params


def test_pruning_filters_vgg16_a() -> None:
    """Half of the first convolution and of the last six go: 0.313 to 0.206 GMACs, 15 to 5.4 M parameters.

    The paper's head has a hidden layer of 512 units with batch norm, ours has none; its 512 * n + 512 weights
    and biases, 1024 of batch norm and 5130 of the classifier, instead of our 10 n + 10, are added by hand (n
    = filters of the last convolution).
    """
    graph = prunus.trace(vgg16_bn(), IMAGE)
    convolutions = [layer.name for layer in graph.layers() if layer.op == "convolution"]
    plan = prunus.plan(
        graph, prunus.scores.norm(graph, p=1), rates=dict.fromkeys([convolutions[0], *convolutions[7:]], 0.5)
    )
    widths = [layer.width_after for layer in graph.layers(plan)][:-1]
    assert widths == [32, 64, 128, 128, 256, 256, 256] + [256] * 6

    def with_hidden_layer(params: int, n: int) -> int:
        return params - (10 * n + 10) + 512 * n + 512 + 1024 + 5130

    def hidden_macs(macs: int, n: int) -> int:
        return macs - 10 * n + 512 * n + 5120

    assert round(hidden_macs(plan.before.macs, 512) / 1e9, 3) == round(plan.before.macs / 1e9, 3) == 0.313
    assert round(hidden_macs(plan.after.macs, 256) / 1e9, 3) == round(plan.after.macs / 1e9, 3) == 0.206
    assert round(with_hidden_layer(plan.before.params, 512) / 1e6, 1) == 15.0
    assert round(with_hidden_layer(plan.after.params, 256) / 1e6, 1) == 5.4
