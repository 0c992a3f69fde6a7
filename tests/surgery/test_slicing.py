"""Attributes of torch's own layers say the sizes that are left, and the given model is not touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.paint.nets import randomised
from torch import nn

import prunus
from prunus.plans.slices import slices_of
from prunus.surgery.slicing import Rebind, Surgery, operate, standard_rebinds

X = torch.zeros(2, 3, 6, 6, dtype=torch.float64)
LAYERS: dict[str, tuple[tuple[nn.Module, ...], set[tuple[str, str, Any]]]] = {
    "convolution": ((nn.Conv2d(8, 2, 1),), {("1", "in_channels", 5)}),
    "transposed": ((nn.ConvTranspose2d(8, 2, 2),), {("1", "in_channels", 5)}),
    "depthwise": (
        (nn.Conv2d(8, 8, 1, groups=8), nn.Conv2d(8, 2, 1)),
        {("1", "in_channels", 5), ("1", "out_channels", 5), ("1", "groups", 5), ("2", "in_channels", 5)},
    ),
    "norm and slope": (
        (nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 2, 1)),
        {("1", "num_features", 5), ("2", "num_parameters", 5), ("3", "in_channels", 5)},
    ),
    "linear": (
        (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)),
        {("3", "in_features", 5)},
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_sizes_follow_the_slices(name: str) -> None:
    behind, wanted = LAYERS[name]
    model = randomised(nn.Sequential(nn.Conv2d(3, 8, 1), *behind))
    graph = prunus.trace(model, X)
    removed = np.zeros(graph.num_channels, dtype=bool)
    removed[[0, 3, 7]] = True
    slices = slices_of(graph, removed)
    found = standard_rebinds(graph, removed, slices)
    assert {(one.module, one.name, one.value) for one in found} == wanted | {("0", "out_channels", 5)}
    before = {key: value.shape for key, value in model.state_dict().items()}
    small = operate(model, Surgery(slices, tuple(found)))
    assert small(X).shape[0] == 2 and small[0].weight.shape[0] == 5
    assert {key: value.shape for key, value in model.state_dict().items()} == before
    assert model[0].out_channels == 8 and small[0].out_channels == 5


def test_an_attribute_of_ones_own_is_set_in_the_copy_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].width = 7  # type: ignore[assignment]
    small = operate(model, Surgery({}, (Rebind("0", "width", 3),)))
    assert (small[0].width, model[0].width) == (3, 7)
