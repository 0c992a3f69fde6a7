"""Networks that lose filters in the middle of a training, and what is left of them beside the masked ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tests.methods.nets import Normed
from torch import Tensor, nn

from prunus.data import load
from prunus.methods.soft import SoftPruning
from prunus.models import lenet5, resnet20
from prunus.plans.mask import lost_slots
from prunus.training import TrainConfig, train
from prunus.training.optimizers import new_optimizer

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(0, 1442, 12))
HELD = DIGITS.train.subset(torch.arange(1, 1442, 40))
IMAGE = torch.randn(1, 1, 8, 8, dtype=torch.float64)
CONFIG = TrainConfig(epochs=4, lr=0.05, batch_size=40)


class Sigmoids(nn.Module):
    """Activations that make 0.5 of a filter that is zero, which goes into the bias behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x).sigmoid()).sigmoid().mean((2, 3)))


class Unbiased(Sigmoids):
    """The same, but the classifier has no bias that could take the constants."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 10, bias=False)


class Grouped(nn.Module):
    """A norm across channels, whose width must stay what it was."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 12, 3), nn.GroupNorm(1, 12), nn.Conv2d(12, 8, 3)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.norm(self.a(x)).relu()).relu().mean((2, 3)))


class Shuffled(nn.Module):
    """Reads channels in an order that a buffer says."""

    order: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10), nn.Conv2d(10, 8, 3)
        self.head = nn.Linear(8, 10)
        self.register_buffer("order", torch.randperm(10, generator=torch.Generator().manual_seed(3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.norm(self.a(x)).relu()[:, self.order]).relu().mean((2, 3)))


class Fixed(nn.Module):
    """A forward that says a width in its code, which only a traced graph can do without."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x).relu()).relu().reshape(len(x), 8 * 16))


BUILDS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": Normed,
    "plain": lambda: lenet5(image_size=8),
    "residual": lambda: resnet20(in_channels=1),
    "group norm": Grouped,
    "constants": Sigmoids,
    "order": Shuffled,
    "traced": Fixed,
}


def built(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().double()


def widths(optimizer: torch.optim.Optimizer, seen: list[int]) -> Callable[[int, int], None]:
    """Notes after every step how many filters the first convolution has that the optimiser trains."""
    return lambda done, total: seen.append(optimizer.param_groups[0]["params"][0].shape[0])


def trained(
    build: Callable[[], nn.Module], config: TrainConfig, seen: list[int] | None = None, **options: Any
) -> tuple[nn.Module, SoftPruning]:
    """A network and its pruning after a training."""
    ours = {"rate": 0.4, **options.pop("pruning", {})}
    model, pruning = built(build), SoftPruning(IMAGE, **ours)
    optimizer = new_optimizer(model, config)
    if seen is not None:
        options["on_step"] = widths(optimizer, seen)
    data = FEW, config
    train(model, *data, normalise=DIGITS.normalise, optimizer=optimizer, pruning=pruning, **options)
    return model, pruning


def kept(model: nn.Module, pruning: SoftPruning) -> dict[str, Tensor]:
    """The numbers that are left; the others are NaN."""
    assert pruning.gone is not None
    graph = pruning.traced(model)
    found = {name: t.detach().clone().double() for name, t in model.state_dict().items()}
    for axis, slots in lost_slots(graph, pruning.gone.attach(graph).removed_in(graph)):
        found[axis.name].index_fill_(axis.dim, slots, torch.nan)
    return found


def assert_alike(
    first: tuple[nn.Module, SoftPruning], second: tuple[nn.Module, SoftPruning], bits: bool = False
) -> None:
    (mine, pruning), (other, masked) = first, second
    assert pruning.plan == masked.plan and pruning.record == masked.record
    theirs = kept(other, masked)
    for name, value in kept(mine, pruning).items():
        tolerance = 0.0 if bits else 1e-10
        torch.testing.assert_close(
            value, theirs[name], rtol=tolerance, atol=tolerance, equal_nan=True, msg=name
        )
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(mine.eval()(images), other.eval()(images), rtol=1e-9, atol=1e-9)
