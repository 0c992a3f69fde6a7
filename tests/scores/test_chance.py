"""Chance, by its seed."""

from __future__ import annotations

import torch

from prunus import scores
from prunus.paint.graph import ChannelGraph


def test_random_is_seeded(graph: ChannelGraph) -> None:
    assert torch.equal(scores.random(graph, 3), scores.random(graph, 3))
    assert not torch.equal(scores.random(graph, 3), scores.random(graph, 4))
