"""Normalisations of the random networks: per channel, per group, and across the channels in all the ways they
are written.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PER_CHANNEL = tuple(
    "batch none plain-batch instance plain-instance tracked-instance cumulative-batch frozen-batch".split()
)
ACROSS = ("layer", "group1", "layer-first", "rms", "rms-first", "unit", "spread", "response")
NORMS = (*PER_CHANNEL, "group", "plain-group", *ACROSS)


class ChannelLayerNorm(nn.Module):
    """Layer or RMS norm over the channels of a feature map, by permuting them to the end."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class AcrossNorm(nn.Module):
    """A norm over the channels where they are, written by hand; `mode` says which."""

    def __init__(self, channels: int, *, mode: str) -> None:
        super().__init__()
        self.mode, self.unbiased = mode, channels > 1
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight[:, None, None], self.bias[:, None, None]
        match self.mode:
            case "layer-first":  # ConvNeXt
                mean = x.mean(1, keepdim=True)
                variance = (x - mean).pow(2).mean(1, keepdim=True)
                return weight * ((x - mean) / torch.sqrt(variance + 1e-6)) + bias
            case "rms-first":
                return x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-6) * weight
            case "unit":
                return F.normalize(x, dim=1) * weight
            case "spread":
                variance = x.var(1, keepdim=True, unbiased=self.unbiased)
                return (x - x.mean(1, keepdim=True)) / (variance + 1e-5).sqrt() * weight + bias
            case _:  # global response normalisation (ConvNeXt V2)
                size = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
                return weight * (x * (size / (size.mean(1, keepdim=True) + 1e-6))) + bias + x


class FrozenBatchNorm(nn.Module):
    """Batch norm of buffers alone, as detectors have it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


def norm(name: str, channels: int) -> nn.Module:
    """The normalisation called `name`; group norms take two groups where the channels allow it."""
    groups = 2 if channels % 2 == 0 else 1
    kinds: dict[str, Callable[[], nn.Module]] = {
        "none": nn.Identity,
        "batch": lambda: nn.BatchNorm2d(channels),
        "plain-batch": lambda: nn.BatchNorm2d(channels, affine=False),
        "cumulative-batch": lambda: nn.BatchNorm2d(channels, momentum=None),
        "frozen-batch": lambda: FrozenBatchNorm(channels),
        "group": lambda: nn.GroupNorm(groups, channels),
        "plain-group": lambda: nn.GroupNorm(groups, channels, affine=False),
        "instance": lambda: nn.InstanceNorm2d(channels, affine=True),
        "plain-instance": lambda: nn.InstanceNorm2d(channels),
        "tracked-instance": lambda: nn.InstanceNorm2d(channels, affine=True, track_running_stats=True),
        "layer": lambda: ChannelLayerNorm(nn.LayerNorm(channels)),
        "rms": lambda: ChannelLayerNorm(nn.RMSNorm(channels)),
        "group1": lambda: nn.GroupNorm(1, channels),
    }
    return kinds[name]() if name in kinds else AcrossNorm(channels, mode=name)
