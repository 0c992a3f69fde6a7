"""Small networks of every make that gates are put on, and gates that are shut."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunus import models
from prunus.dynamic import DynamicNetwork, KernelActivation


class Separable(nn.Module):
    """An inverted residual block: a depthwise layer between two pointwise ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.expand = nn.Sequential(nn.Conv2d(8, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU6())
        self.deep = nn.Sequential(
            nn.Conv2d(24, 24, 3, padding=1, groups=24, bias=False), nn.BatchNorm2d(24), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(24, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(self.deep(self.expand(x)))
        return self.head(x.mean((2, 3)))


def vgg(layout: tuple[int, ...]) -> nn.Module:
    """Convolutions of these widths, 0 for a pooling."""
    layers: list[nn.Module] = []
    previous = 3
    for width in layout:
        layers += (
            [nn.Conv2d(previous, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            if width
            else [nn.MaxPool2d(2)]
        )
        previous = width or previous
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(previous, 10))


NETWORKS = {
    "lenet5": (lambda: models.lenet5(), (1, 28, 28)),
    "resnet14": (lambda: models.CifarResNet(2), (3, 32, 32)),
    "vgg": (lambda: vgg((8, 16, 0, 24, 24, 0, 32, 0)), (3, 16, 16)),
    "projected": (lambda: models.CifarResNet(1, shortcut="projection"), (3, 16, 16)),
    "separable": (Separable, (3, 12, 12)),
}


def network(name: str, batch: int = 2) -> tuple[nn.Module, Tensor]:
    """A network in float64 with lively batch norms, and inputs for it."""
    torch.manual_seed(0)
    build, shape = NETWORKS[name]
    model = build().double().eval()
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    x = torch.randn(batch, *shape, dtype=torch.float64, generator=generator)
    return model, x * torch.linspace(0.3, 4, batch, dtype=torch.float64).view(-1, 1, 1, 1)


def shut(dynamic: DynamicNetwork, share: float, seed: int = 3) -> dict[str, Tensor]:
    """Close some switches of every gate for all inputs; which are open."""
    generator = torch.Generator().manual_seed(seed)
    opens = {}
    for name, gate in dynamic.gates.items():
        assert isinstance(gate, KernelActivation)
        on = torch.rand(len(gate.last.bias), generator=generator) >= share
        on[0] = True
        gate.last.bias.data = torch.where(on, 2.0, -2.0).to(gate.last.bias)
        opens[name] = on.repeat_interleave(gate.block)[: gate.channels]
    return opens
