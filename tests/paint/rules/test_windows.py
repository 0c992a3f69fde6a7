"""Windows along the channels, and largest values across them: noted as inexact where the channels stay apart,
pinned where they do not.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, channels, randomised
from tests.paint.operators import Between, Run, goes, halved
from torch import Tensor, nn

import prunus


def tokens(y: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H * W, C)."""
    return y.flatten(2).transpose(1, 2)


def planes(t: Tensor, y: Tensor) -> Tensor:
    """The way back, for any number of channels."""
    return t.transpose(1, 2).reshape(y.shape[0], -1, *y.shape[2:])


class TripletGate(nn.Module):
    """Largest and mean over axis 1, and a convolution over the other two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.norm(self.conv(torch.stack([x.max(1)[0], x.mean(1)], 1))).sigmoid()


def eca(m: Between, y: Tensor) -> Tensor:
    return y * m.conv(y.mean((2, 3)).unsqueeze(1)).sigmoid().transpose(1, 2).unsqueeze(-1)


def padded_eca(m: Between, y: Tensor) -> Tensor:
    return y * m.conv(F.pad(y.mean((2, 3)).unsqueeze(1), (1, 1))).sigmoid().transpose(1, 2).unsqueeze(-1)


NOTED: dict[str, tuple[Run, dict[str, nn.Module]]] = {
    "efficient channel attention": (eca, {"conv": nn.Conv1d(1, 1, 3, padding=1, bias=False)}),
    "wide and dilated": (eca, {"conv": nn.Conv1d(1, 1, 3, padding=2, dilation=2)}),
    "padded by itself": (padded_eca, {"conv": nn.Conv1d(1, 1, 3)}),
    "triplet attention": (
        lambda m, y: m.gate(y.permute(0, 2, 1, 3).contiguous()).permute(0, 2, 1, 3) + m.gate(y),
        {"gate": TripletGate()},
    ),
    "local response norm": (lambda m, y: F.local_response_norm(y, 5), {}),
    "local response norm of even size": (lambda m, y: F.local_response_norm(y, 4), {}),
    "average of neighbours": (lambda m, y: planes(F.avg_pool1d(tokens(y), 3, stride=1, padding=1), y), {}),
    "largest of neighbours": (lambda m, y: planes(F.max_pool1d(tokens(y), 3, stride=1, padding=1), y), {}),
    "windows unfolded": (lambda m, y: y * F.pad(y, (0, 0, 0, 0, 1, 1)).unfold(1, 3, 1).mean(-1).tanh(), {}),
    "three dimensions": (
        lambda m, y: m.conv(y.unsqueeze(1)).squeeze(1) * y,
        {"conv": nn.Conv3d(1, 1, 3, padding=1)},
    ),
    "reflected": (
        lambda m, y: (
            y
            * F.pad(y.mean((2, 3)).unsqueeze(1), (1, 1), "reflect")
            .unfold(2, 3, 1)
            .mean(-1)
            .transpose(1, 2)
            .unsqueeze(-1)
        ),
        {},
    ),
    "one window for all": (lambda m, y: y * planes(F.max_pool1d(tokens(y), y.shape[1]), y).sigmoid(), {}),
}


@pytest.mark.parametrize("name", NOTED)
def test_windows_along_the_channels_are_noted(name: str) -> None:
    run, parts = NOTED[name]
    result = goes(run, **parts)
    assert not result.exact and "along the channels" in result.notes and result.mode == "eager"


def test_an_exact_plan_leaves_channels_with_windows_alone() -> None:
    model = randomised(Between(eca, {"conv": nn.Conv1d(1, 1, 3, padding=1)}))
    graph = prunus.trace(model, torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    assert prunus.plan(graph, prunus.scores.norm(graph), rate=0.5, exact=True).removed == 0


PINNED: dict[str, tuple[Run, dict[str, nn.Module]]] = {
    "stride": (
        lambda m, y: y * m.conv(y.mean((2, 3)).unsqueeze(1)).mean(),
        {"conv": nn.Conv1d(1, 1, 3, padding=1, stride=2)},
    ),
    "no padding": (lambda m, y: y * m.conv(y.mean((2, 3)).unsqueeze(1)).mean(), {"conv": nn.Conv1d(1, 1, 3)}),
    "a kernel over all": (
        lambda m, y: y * m.conv(y.mean((2, 3)).unsqueeze(1)).mean(),
        {"conv": nn.Conv1d(1, 1, 8)},
    ),
    "a padded kernel over all": (
        lambda m, y: y * m.conv(y.mean((2, 3)).unsqueeze(1)).mean(),
        {"conv": nn.Conv1d(1, 1, 5, padding=1, dilation=2)},
    ),
    "pooled in pairs": (lambda m, y: y * F.max_pool1d(tokens(y), 2).mean(), {}),
    "resized": (lambda m, y: y * F.interpolate(tokens(y), size=5).mean(), {}),
    "sorted": (lambda m, y: y * y.sort(1)[0][:, :2].mean(1, keepdim=True), {}),
    "indices of the largest": (lambda m, y: y * y.max(1, keepdim=True)[1], {}),
    "indices of the largest few": (lambda m, y: y * y.topk(2, 1)[1].sum(1, keepdim=True), {}),
    "indices of the largest, detached": (lambda m, y: y * y.median(1, keepdim=True).indices.detach(), {}),
}


@pytest.mark.parametrize("name", PINNED)
def test_what_changes_the_number_or_names_channels_pins_them(name: str) -> None:
    run, parts = PINNED[name]
    assert halved(run, **parts).graph.num_channels == 0


def test_indices_that_are_returned_pin() -> None:
    model: Any = randomised(Net(lambda m, x: tuple(m.a(x).max(1)), a=nn.Conv2d(3, 4, 1)))
    x = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    assert prunus.trace(model, x).num_channels == 0
    model.run = lambda m, x: m.a(x).max(1)[0]
    assert prunus.trace(model, x).num_channels == 4


def test_windows_count_the_channels_that_are_left() -> None:
    model = randomised(Between(eca, {"conv": nn.Conv1d(1, 1, 3, padding=1)}))
    graph = prunus.trace(model, torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    assert channels(graph, "first.0.weight") == list(range(8))
    plan = prunus.plan(graph, torch.arange(8.0), rate=0.5)
    rows = {row.name: (row.macs_before, row.macs_after) for row in graph.layers(plan)}
    assert rows["conv"] == (8 * 3, 4 * 3)
