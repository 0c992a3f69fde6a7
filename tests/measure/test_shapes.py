"""Widths that are predicted for a plan are those that the compact network has."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from tests.networks import random_spec
from torch import nn

import prunus
from prunus import models
from prunus.measure.shapes import timed_layers
from prunus.plans.plan import make_plan


def check(model: nn.Module, inputs: Any, seed: int) -> int:
    """Remove channels by chance; the compact network's layers have the widths that were worked out. How many
    layers there are.
    """
    graph = prunus.trace(model, inputs)
    draw = np.random.default_rng(seed)
    removed = draw.random(graph.num_channels) < 0.4
    for group in graph.groups:
        removed[group.channels[0]] = False
    plan = make_plan(graph, removed)
    layers = timed_layers(graph)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* channels stay")
        compact = prunus.compact(model, plan, check=False)
    read, made = layers.widths(graph.kept(compact.prunus.plan.removed_in(graph)))
    small = timed_layers(prunus.trace(compact, inputs))
    if len(small.shapes) < len(layers.shapes):  # a layer whose output nobody reads
        assert type(compact).__name__ == "TracedModule"
        return 0
    assert [shape.inputs for shape in small.shapes] == read.tolist()
    assert [shape.outputs for shape in small.shapes] == made.tolist()
    assert [shape.kernel for shape in small.shapes] == [shape.kernel for shape in layers.shapes]
    return len(layers.shapes)


@pytest.mark.parametrize("name", ["resnet20", "vgg16_bn", "lenet5", "unet"])
def test_the_compact_network_has_the_predicted_widths(name: str) -> None:
    size = 28 if name == "lenet5" else 32
    assert check(models.build(name).eval(), torch.zeros(1, 1 if name == "lenet5" else 3, size, size), 0) > 3


def test_on_random_networks() -> None:
    found = 0
    for seed in range(8):
        model, inputs = random_spec(seed, most=2).build()
        found += check(model, inputs, seed)
    assert found > 25


def test_shapes_of_all_kinds() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.Conv2d(16, 16, 3, groups=4),
        nn.ConvTranspose2d(16, 8, 2, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    shapes = timed_layers(prunus.trace(model, torch.zeros(2, 3, 16, 16))).shapes
    assert [shape.kind for shape in shapes] == "convolution convolution convolution transposed linear".split()
    assert [shape.groups for shape in shapes] == [1, 0, 4, 1, 1]
    assert [shape.spatial for shape in shapes] == [(16, 16), (8, 8), (6, 6), (4, 4), ()]
    assert [(shape.inputs, shape.outputs) for shape in shapes] == [
        (3, 16),
        (16, 16),
        (16, 16),
        (16, 8),
        (8, 5),
    ]
    assert {shape.batch for shape in shapes} == {2}
