"""Networks whose files are written, damaged and read."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tests.paint.nets import Halves, random_plan, randomised
from torch import Tensor, nn

import prunus
from prunus.models import resnet20

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Build = Callable[[], nn.Module]


class Rich(nn.Module):
    """A non-persistent buffer, an integer buffer, tied weights, and a constant that must be folded into a
    bias that is not there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)
        self.act = nn.Sigmoid()
        self.next = nn.Conv2d(6, 6, 3, bias=False)
        self.a = nn.Linear(6, 6)
        self.b = nn.Linear(6, 6)
        self.b.weight = self.a.weight
        self.register_buffer("shift", torch.ones(6), persistent=False)
        self.register_buffer("count", torch.tensor(3))
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.next(self.act(self.conv(x))).mean((2, 3)) + self.shift
        return self.head(self.b(self.a(x).relu()))


class RichHalves(Halves):
    """The same for the traced module."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.register_buffer("shift", torch.ones(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(super().forward(x) + self.shift).relu())


BUILDS: dict[str, Build] = {
    "eager": Rich,
    "traced": Halves,
    "traced with ties": RichHalves,
    "resnet": resnet20,
}


def compacted(build: Build, dtype: torch.dtype = torch.float64) -> nn.Module:
    model = randomised(build())
    list(model.parameters())[-1].requires_grad_(False)
    model = model.to(dtype)
    return prunus.compact(model, random_plan(prunus.trace(model, IMAGE.to(dtype))))
