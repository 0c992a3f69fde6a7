"""Layers of the random networks that copy: expanded gates and parameters, maps over space, coordinates,
tokens, tables of constants.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COPIES = tuple(
    (
        "expand-as expand repeat tile spatial cbam largest pooled coordinates token table sinusoid "
        "interleaved broadcast outer"
    ).split()
)


class Copies(nn.Module):
    """Something small is copied over what it meets; `mode` says what, and how."""

    def __init__(self, channels: int, height: int, width: int, *, mode: str) -> None:
        super().__init__()
        self.mode, self.even = mode, channels % 2 == 0
        self.gate: Any = nn.Linear(channels, channels) if mode == "expand-as" else None
        self.map: Any = (
            nn.Conv2d(2 if mode == "cbam" else channels, 1, 3, padding=1)
            if mode in ("cbam", "spatial")
            else None
        )
        self.mix: Any = nn.Conv2d(2 * channels, channels, 1) if mode == "pooled" else None
        self.mix = nn.Conv2d(channels + 2, channels, 3, padding=1) if mode == "coordinates" else self.mix
        self.p: Any = (
            nn.Parameter(torch.randn(channels))
            if mode in ("expand", "repeat", "token", "broadcast")
            else None
        )
        self.read: Any = nn.Linear(channels, channels) if mode == "token" else None
        if mode == "table":
            self.register_buffer("table", torch.randn(1, channels, height, width))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        match self.mode:
            case "expand-as":
                return x * self.gate(x.mean((2, 3))).sigmoid().view(b, c, 1, 1).expand_as(x)
            case "expand":
                return x * self.p.view(1, -1, 1, 1).expand(b, -1, h, w)
            case "repeat":
                return x + x * self.p.view(1, -1, 1, 1).repeat(b, 1, h, w)
            case "broadcast":
                return x * torch.broadcast_to(self.p[:, None, None], x.shape)
            case "tile":
                return x * x.mean(1, keepdim=True).tile(1, c, 1, 1)
            case "largest":
                return x * x.amax(1, keepdim=True).expand_as(x)
            case "spatial":
                return x * self.map(x).sigmoid()
            case "cbam":
                return (
                    x
                    * self.map(
                        torch.cat([x.max(1, keepdim=True).values, x.mean(1, keepdim=True)], 1)
                    ).sigmoid()
                )
            case "pooled":  # image-level features beside every position
                return self.mix(torch.cat([x, F.adaptive_avg_pool2d(x, 1).expand(-1, -1, h, w)], 1))
            case "coordinates":
                rows = (
                    torch.linspace(-1, 1, h, dtype=x.dtype, device=x.device)
                    .view(1, 1, h, 1)
                    .expand(b, 1, h, w)
                )
                columns = (
                    torch.linspace(-1, 1, w, dtype=x.dtype, device=x.device)
                    .view(1, 1, 1, w)
                    .expand(b, 1, h, w)
                )
                return self.mix(torch.cat([x, rows, columns], 1))
            case "token":
                tokens = torch.cat([self.p.expand(b, 1, -1), x.flatten(2).transpose(1, 2)], 1)
                weights = (tokens @ tokens.transpose(1, 2) * 0.1).softmax(-1)
                return x + self.read((weights @ tokens)[:, 1:]).transpose(1, 2).reshape(x.shape)
            case "table":
                return x + x * self.table[:, :, :h, :w]
            case "sinusoid":
                phase = torch.arange(c, dtype=x.dtype, device=x.device)[:, None, None]
                return x * (1 + 0.1 * torch.sin(phase + torch.arange(w, dtype=x.dtype, device=x.device)))
            case "interleaved":  # sines of even slots and cosines of odd ones, in turn
                pairs = torch.stack((x[:, 0::2].sin(), x[:, 1::2].cos()), 2) if self.even else x[:, :, None]
                return x + pairs.flatten(1, 2)
            case _:  # a map that is a product of a row and a column
                return x * (x.mean(3, keepdim=True) * x.mean(2, keepdim=True)).sigmoid()
