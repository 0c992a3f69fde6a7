"""Published widths of pruned networks, as plans: METHODS section 9, T2 and T3."""

from __future__ import annotations

import math

import pytest
import torch

import prunus
from prunus import models, scores

CIFAR = torch.zeros(1, 3, 32, 32)


def inner(stages: int, blocks: int, rates: tuple[float, ...], skip: tuple[int, ...]) -> dict[str, float]:
    """Rates of the first convolution of every block; PFEC keeps int(n * (1 - p)) filters and counts
    convolutions from 1.
    """
    widths = (16, 32, 64)
    found = {}
    for stage in range(stages):
        for block in range(blocks):
            number = 2 * (stage * blocks + block) + 2
            kept = widths[stage] if number in skip else int(widths[stage] * (1 - rates[stage]))
            found[f"layer{stage + 1}.{block}.conv1"] = 1 - kept / widths[stage]
    return found


@pytest.mark.parametrize(
    ("name", "blocks", "rates", "skip", "macs", "params"),
    [
        ("resnet56", 9, (0.6, 0.3, 0.1), (16, 18, 20, 34, 38, 54), 0.0909, 0.73),
        ("resnet110", 18, (0.5, 0.4, 0.3), (36, 38, 74), 0.155, 1.16),
    ],
)
def test_pfec_on_resnets(
    name: str, blocks: int, rates: tuple[float, ...], skip: tuple[int, ...], macs: float, params: float
) -> None:
    graph = prunus.trace(models.build(name).eval(), CIFAR)
    plan = prunus.plan(graph, scores.norm(graph, 1, "producer"), rates=inner(3, blocks, rates, skip))
    assert plan.after.macs / 1e9 == pytest.approx(macs, rel=0.01)
    assert plan.after.params / 1e6 == pytest.approx(params, rel=0.01)


def test_pfec_on_vgg() -> None:
    """VGG-16-A: half of the first convolution and of the last six."""
    graph = prunus.trace(models.vgg16_bn().eval(), CIFAR)
    convolutions = [
        index for index, layer in enumerate(graph.model.features) if isinstance(layer, torch.nn.Conv2d)
    ]
    rates = {
        f"features.{index}": 0.5
        for position, index in enumerate(convolutions)
        if position == 0 or position >= 7
    }
    plan = prunus.plan(graph, scores.norm(graph, 1, "producer"), rates=rates)
    assert plan.before.macs / 1e9 == pytest.approx(0.313, abs=0.0005)
    assert plan.after.macs / 1e9 == pytest.approx(0.206, abs=0.0005)
    # the paper's head has a hidden layer of 512, which reads what is left of the last convolution
    hidden = 256 * 512
    assert (plan.after.params + hidden) / 1e6 == pytest.approx(5.4, abs=0.05)


def test_hbfp_on_lenet() -> None:
    """2 and 3 filters: 97.97 % of the convolutions' work is gone."""
    graph = prunus.trace(models.lenet5().eval(), torch.zeros(1, 1, 28, 28))
    plan = prunus.plan(graph, scores.norm(graph), rates={"conv1": 18 / 20, "conv2": 47 / 50})
    layers = [layer for layer in graph.layers(plan) if layer.name.startswith("conv")]
    left = sum(layer.macs_after for layer in layers) / sum(layer.macs_before for layer in layers)
    assert 1 - left == pytest.approx(0.9797, abs=5e-5)


@pytest.mark.parametrize(("name", "removed"), [("resnet110", 0.7496), ("resnet56", 0.749)])
def test_hbfp_on_resnets(name: str, removed: float) -> None:
    """Half of every stage's width, block outputs included."""
    graph = prunus.trace(models.build(name).eval(), CIFAR)
    plan = prunus.plan(graph, scores.norm(graph), rate=0.5)
    assert 1 - plan.after.macs / plan.before.macs == pytest.approx(removed, abs=2e-3)
    assert math.isclose(plan.after.params / plan.before.params, 0.25, abs_tol=0.01)
