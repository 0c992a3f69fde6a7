"""A network of several inputs, and a task for it, as a module of a user's own would make them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import prunus

NAME = "tests.runs.several:build"
BY_NAME = "tests.runs.several:by_name"
BY_PLACE = "tests.runs.several:by_place"
OTHERS = "tests.runs.several:others"
AGED, BUILD_AGED = "tests.runs.several:aged", "tests.runs.several:build_aged"


class Scan(nn.Module):
    """A volume, and numbers beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv3d(1, 8, 3), nn.Linear(4, 8), nn.Linear(16, 3)

    def forward(self, volume: Tensor, side: Tensor) -> Tensor:
        seen = self.first(volume).mean((2, 3, 4))
        return self.last(torch.cat([seen, self.second(side)], 1).relu())


def build() -> nn.Module:
    """Random weights."""
    return Scan()


def _batches(named: bool, width: int = 4) -> list[tuple[object, Tensor]]:
    volume, side = torch.arange(250.0).view(2, 1, 5, 5, 5), torch.ones(2, width)
    inputs = {"volume": volume, "side": side} if named else (volume, side)
    return [(inputs, torch.tensor([0, 1]))]


def by_name() -> prunus.Task:
    """Dictionaries as batches."""
    return prunus.Task(_batches(True), test=_batches(True), classes=("a", "b", "c"))


def aged() -> prunus.Task:
    """A number of every sample first."""
    part = [({"age": torch.ones(2), "volume": torch.zeros(2, 1, 5, 5, 5)}, torch.tensor([0, 1]))]
    return prunus.Task(part, part, part, classes=("a", "b", "c"))


class Aged(nn.Module):
    """One number beside the volume, and before it."""

    def __init__(self) -> None:
        super().__init__()
        self.scan = Scan()

    def forward(self, age: Tensor, volume: Tensor) -> Tensor:
        seen: Tensor = self.scan(volume, age[:, None].expand(-1, 4))
        return seen


def build_aged() -> nn.Module:
    """Random weights."""
    return Aged()


def by_place() -> prunus.Task:
    """Tuples as batches."""
    return prunus.Task(_batches(False), test=_batches(False), classes=("a", "b", "c"))


def others() -> prunus.Task:
    """Fewer numbers beside the volume."""
    return prunus.Task(_batches(False, 2), test=_batches(False, 2), classes=("a", "b", "c"))
