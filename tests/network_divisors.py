"""Layers of the random networks that divide by something of their own, or take its logarithm."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIVISORS = ("lsq", "lsq-weight", "gdn", "frn", "snake", "scale", "share", "tanh", "log", "temperature")


class Divisor(nn.Module):
    """A layer with one number per channel that must not be zero; `mode` says which."""

    def __init__(self, channels: int, *, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.scale = nn.Parameter(torch.rand(channels) + 0.5)
        self.shift = nn.Parameter(torch.zeros(channels))
        self.gamma: Any = nn.Parameter(torch.rand(channels, channels)) if mode == "gdn" else None
        self.conv: Any = nn.Conv2d(channels, channels, 3, padding=1) if mode == "lsq-weight" else None

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.scale[:, None, None], self.shift[:, None, None]
        match self.mode:
            case "lsq":
                return through((x / scale).clamp(-8, 7)) * scale
            case "lsq-weight":
                step = self.scale[:, None, None, None]
                return F.conv2d(
                    x, through((self.conv.weight / step).clamp(-8, 7)) * step, self.conv.bias, padding=1
                )
            case "gdn":  # Ballé, Laparra and Simoncelli 2016
                return x / torch.sqrt(
                    F.conv2d(x * x, self.gamma.abs()[:, :, None, None], self.scale.abs() + 0.1)
                )
            case "frn":  # Singh and Krishnan 2020
                x = x * torch.rsqrt(x.square().mean((2, 3), keepdim=True) + 1e-3)
                return torch.maximum(scale * x + shift, shift)
            case "snake":  # Ziyin, Hartwig and Ueda 2020
                return x + torch.sin(scale * x).square() / scale
            case "scale":
                return (x - shift) / scale
            case "share":
                return x / (x.abs().sum(1, keepdim=True) + 1e-2)
            case "tanh":  # dynamic tanh
                return scale * torch.tanh(0.7 * x) + shift
            case "log":
                return torch.log1p(x.abs()) * scale.abs().log()
            case _:
                return x * scale / (1 + torch.exp(-shift))


def through(x: Tensor) -> Tensor:
    """Rounding with the gradient of doing nothing."""
    return x + (x.round() - x).detach()
