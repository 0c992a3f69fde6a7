"""Distances to the other filters of a layer, one by one."""

from __future__ import annotations

import torch
from tests.paint.nets import randomised
from tests.scores.coupled import IMAGE
from torch import nn

import prunus
from prunus import scores


def test_geometric_median() -> None:
    net = randomised(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.Conv2d(4, 2, 1)))
    found = scores.geometric_median(prunus.trace(net, IMAGE))
    wanted = []
    for layer in (net[0], net[2]):
        rows = layer.weight.detach().flatten(1)
        wanted += [sum(float((a - b).square().sum().sqrt()) for b in rows) for a in rows]
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12)
    net[0].weight.data[3] = net[0].weight.data.mean(0)
    assert scores.geometric_median(prunus.trace(net, IMAGE))[:5].argmin() == 3
