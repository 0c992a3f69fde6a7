"""What `print(graph)` shows."""

from __future__ import annotations

import torch
from tests.paint.nets import randomised
from torch import nn

import prunus

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def chain(*layers: nn.Module, head: nn.Module | None = None) -> nn.Module:
    return randomised(nn.Sequential(*layers, head if head is not None else nn.Identity()))


def test_print_shows_groups_reasons_and_notes() -> None:
    graph = prunus.trace(chain(nn.Conv2d(3, 6, 1), nn.LogSoftmax(1), nn.Conv2d(6, 2, 1)), IMAGE)
    text = str(graph)
    assert "6 channels in 1 groups" in text
    assert "model output" in text
    assert "softmax across the channels" in text
