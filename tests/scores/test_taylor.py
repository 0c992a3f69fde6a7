"""First-order Taylor, slot by slot."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.scores.coupled import IMAGE, LABELS, combine

from prunus import scores
from prunus.paint.graph import ChannelGraph


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_taylor(graph: ChannelGraph, reduce: Any) -> None:
    """(sum of w dL/dw over what makes the channel)^2, averaged over batches."""
    batches = [(IMAGE[:2], LABELS[:2]), (IMAGE[2:], LABELS[2:])]
    wanted = torch.zeros(graph.num_channels, dtype=torch.float64)
    for inputs, labels in batches:
        net = copy.deepcopy(graph.model)
        F.cross_entropy(net(inputs), labels).backward()
        gradients: dict[str, Any] = {n: p.grad for n, p in net.named_parameters()}
        found, seen = [], dict[tuple[str, int], int]()
        for axis in graph.axes:
            if axis.is_parameter and axis.produces:
                for i, channel in enumerate(axis.channels.tolist()):
                    if channel >= 0:
                        product = net.get_parameter(axis.name).detach() * gradients[axis.name]
                        found.append((channel, float(product.select(axis.dim, i).sum())))
                        seen[axis.name, axis.dim] = 1
        wanted += combine(graph, found, reduce) ** 2 / len(batches)
        assert len(seen) >= 6
    assert torch.allclose(
        scores.taylor(graph, batches, F.cross_entropy, reduce=reduce), wanted, rtol=1e-10, atol=1e-18
    )
