"""A small network and batches, and what it learns from them in the core's own loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from prunus.methods.soft import SoftPruning
from prunus.training import Pruning, TrainConfig, train

IMAGE = torch.zeros(1, 1, 8, 8)


class Net(nn.Module):
    """Two convolutions with batch norms, the second of them frozen where that is wanted."""

    def __init__(self, frozen: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.outer = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 3)
        self.frozen = frozen
        if frozen:
            self.outer.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Net:
        super().train(mode)
        if self.frozen:
            self.outer.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu()
        return self.head(self.outer(self.second(x)).relu().mean(dim=(2, 3)))


def batches(count: int = 5, size: int = 6) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 1, 8, 8, generator=draw), torch.randint(3, (size,), generator=draw))
        for _ in range(count)
    ]


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)


def soft(**options: Any) -> SoftPruning:
    return SoftPruning(IMAGE, **{"rate": 0.5, "growth": "asymptotic", **options})


def in_the_core(
    network: nn.Module, pruning: Pruning, epochs: int = 4, data: list[tuple[Tensor, Tensor]] | None = None
) -> nn.Module:
    config = TrainConfig(epochs=epochs, lr=0.05, schedule="constant")
    optimizer = sgd(network)
    train(
        network,
        data or batches(),
        config,
        loss=nn.functional.cross_entropy,
        optimizer=optimizer,
        pruning=pruning,
    )
    return network


def same(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


class Diary(Pruning):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def before_training(self, model: nn.Module, epochs: int) -> None:
        self.told.append(("begin", epochs))

    def after_step(self, model: nn.Module) -> None:
        self.told.append(("step",))

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        self.told.append(("epoch", epoch, epochs))

    def state(self) -> dict[str, Any]:
        return {"told": [list(entry) for entry in self.told], "tensor": torch.ones(2)}

    def restore(self, state: Any) -> None:
        assert torch.equal(state["tensor"], torch.ones(2))
        self.told = [tuple(entry) for entry in state["told"]]
