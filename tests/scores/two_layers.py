"""A network of two convolutions, and what every channel of the first one adds to the second."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tests.paint.nets import Net, randomised
from torch import Tensor, nn

BATCHES = [
    torch.randn(16, 3, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
    for i in range(3)
]


def run(m: nn.Module, x: Tensor) -> Tensor:
    return m.head(m.b(m.a(x).relu()).relu().mean((2, 3)))


def network() -> nn.Module:
    return randomised(Net(run, a=nn.Conv2d(3, 6, 3), b=nn.Conv2d(6, 4, 3), head=nn.Linear(4, 2)))


@torch.no_grad()
def contributions(model: nn.Module) -> Tensor:
    """What every channel of the first layer adds to every output of the second, its mean left to the bias:
    (channels, samples).
    """
    hidden = model.a(torch.cat(BATCHES)).relu()
    parts = [F.conv2d(hidden[:, i : i + 1], model.b.weight[:, i : i + 1]) for i in range(6)]
    return torch.stack([(part - part.mean((0, 2, 3), keepdim=True)).flatten() for part in parts])
