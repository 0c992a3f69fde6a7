"""A network that methods train on the digits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Normed(nn.Module):
    """A small network with batch norm for the digits."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn1 = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.b, self.bn2 = nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.bn1(self.a(x)).relu(), 2)
        return self.head(self.bn2(self.b(x)).relu().mean((2, 3)))
