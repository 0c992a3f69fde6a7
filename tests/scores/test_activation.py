"""Mean activations, reader by reader."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from tests.scores.coupled import IMAGE, LABELS
from torch import Tensor

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
