"""Mean activations, reader by reader."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from tests.scores.coupled import IMAGE, LABELS
from torch import Tensor, nn

import prunus
from prunus import scores
from prunus.paint.graph import ChannelGraph


def test_activation_mean(graph: ChannelGraph) -> None:
    """The mean |x| at every reader of a channel, averaged over readers and batches."""
    net = graph.model
    total = torch.zeros(graph.num_channels, dtype=torch.float64)
    count = torch.zeros_like(total)

    def add(channels: Any, values: Tensor) -> None:
        for channel, value in zip(channels, values.tolist()):
            if channel >= 0:
                total[channel] += value
                count[channel] += 1

    axes = {(a.name, a.dim): a.channels.tolist() for a in graph.axes}
    for x in (IMAGE[:2], IMAGE[2:]):
        with torch.no_grad():
            normed = net.bn(net.a(x))
            sums = (net.b(normed.relu()) + normed).relu()
            last = F.adaptive_avg_pool2d(net.c(sums).relu(), 2).flatten(1)
        add(axes["b.weight", 1], normed.relu().abs().mean((0, 2, 3)))
        add(axes["c.weight", 1] * 2, sums.abs().mean((0, 2, 3)))
        add(axes["d.weight", 1], last.abs().mean(0))
    found = scores.activation_mean(graph, [IMAGE[:2], (IMAGE[2:], LABELS[2:])])
    assert torch.allclose(found, total / count, rtol=1e-10)


class Two(nn.Module):
    """Two inputs, one layer called by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 4), nn.Linear(5, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.last(input=torch.cat([self.first(x), self.second(y)], 1).relu())


def test_several_inputs_are_no_inputs_and_labels() -> None:
    """One batch is the arguments, with labels beside them or without, by place or by name."""
    model, x, y, labels = Two(), torch.randn(6, 3), torch.randn(6, 5), torch.zeros(6)
    hidden = torch.cat([model.first(x), model.second(y)], 1).relu().abs().double().mean(0).detach()
    for inputs in ((x, y), {"x": x, "y": y}):
        graph = prunus.trace(model, inputs)
        channels = {(axis.name, axis.dim): axis.channels for axis in graph.axes}["last.weight", 1]
        for batch in (inputs, (inputs, labels)):
            assert torch.allclose(scores.activation_mean(graph, [batch])[channels], hidden)
