"""Scales of batch norms, slot by slot."""

from __future__ import annotations

import pytest
import torch
from tests.scores.coupled import IMAGE, slots
from torch import nn

import prunus
from prunus import scores
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph


def test_batch_norm_scale(graph: ChannelGraph) -> None:
    found = {c: [] for c in range(graph.num_channels)}  # type: dict[int, list[float]]
    for channel, name, _, value, _ in slots(graph, 1):
        if name == "bn.weight":
            found[channel].append(abs(float(value)))
    means = [sum(v) / len(v) for v in found.values() if v]
    wanted = [sum(v) / len(v) if v else sum(means) / len(means) for v in found.values()]
    assert torch.allclose(scores.bn_scale(graph), torch.tensor(wanted, dtype=torch.float64), rtol=1e-12)
    producer = scores.bn_scale(graph, reduce="producer")
    # whatever it means for a norm, it must not be the same number everywhere
    assert len(set(producer.tolist())) > 2


def test_batch_norm_scale_needs_a_batch_norm() -> None:
    with pytest.raises(PlanError, match="Sequential has no batch norm"):
        scores.bn_scale(prunus.trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), IMAGE.float()))
