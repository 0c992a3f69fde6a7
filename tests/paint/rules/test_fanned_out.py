"""Contractions: grouped convolutions on inputs that stay whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import prunus


class Bands(nn.Module):
    """Filters for each plane of the input, what they make squared, and the usual layers behind."""

    def __init__(self, first: nn.Module, dims: int) -> None:
        super().__init__()
        norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        self.first, self.norm = first, norms[dims - 1](24)
        self.second = convolutions[dims - 1](24, 12, 2)
        self.fan = convolutions[dims - 1](12, 24, 1, groups=12)
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).square()
        return self.head(self.fan(self.second(x).relu()).flatten(2).mean(2))


CASES = {
    "1-D": (nn.Conv1d(4, 24, 3, groups=4), 1),
    "2-D": (nn.Conv2d(4, 24, 3, groups=4), 2),
    "3-D": (nn.Conv3d(4, 24, 2, groups=4), 3),
    "two planes in a group": (nn.Conv2d(4, 24, 3, groups=2), 2),
    "transposed": (nn.ConvTranspose2d(4, 24, 3, groups=4), 2),
}


@pytest.mark.parametrize(("first", "dims"), CASES.values(), ids=list(CASES))
def test_filters_of_each_plane_of_the_input_are_pruned_alike(first: nn.Module, dims: int) -> None:
    torch.manual_seed(0)
    model = Bands(first, dims).double()
    x = torch.randn(3, 4, *(6,) * dims, dtype=torch.float64)
    graph = prunus.trace(model, x)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert plan.exact and small.prunus.mode == "eager" and small.prunus.verification.relative < 1e-12
    assert (small.first.in_channels, small.first.out_channels, small.first.groups) == (4, 12, first.groups)
    assert (small.fan.in_channels, small.fan.out_channels, small.fan.groups) == (6, 12, 6)
    torch.testing.assert_close(prunus.mask(model.eval(), plan)(x), small.eval()(x), rtol=1e-12, atol=1e-12)
    again = prunus.trace(small, x)
    less = prunus.compact(small, prunus.plan(again, prunus.scores.norm(again), rate=0.5))
    assert less.first.out_channels < 12 and less.first.groups == first.groups


def test_one_filter_for_each_plane_of_the_input_stays() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
    graph = prunus.trace(model, torch.randn(1, 4, 8, 8))
    assert {axis.name for axis in graph.axes if (axis.channels >= 0).any()} == {
        "1.weight",
        "1.bias",
        "3.weight",
    }
    assert any("meets the model's input" in pin.reason and "0.weight:0" in pin.names for pin in graph.pinned)
