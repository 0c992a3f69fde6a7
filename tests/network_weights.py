"""Layers of the random networks whose weight is made in the forward: of a product of parameters, or by a
parametrisation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

PARAMETRISED = ("weight-norm", "spectral-norm", "pattern")
PRODUCTS = ("low-rank", "lora", "composed", "gain", "outer", "tied-scale", "experts")


class ProductConv(nn.Module):
    """A convolution of a weight that is a product of parameters; `mode` says of which."""

    def __init__(self, inp: int, out: int, rank: int, *, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.up = nn.Parameter(torch.randn(out, rank))
        self.down = nn.Parameter(torch.randn(rank, inp))
        self.bias = nn.Parameter(torch.randn(out))
        self.base: Any = nn.Conv2d(inp, out, 3, padding=1) if mode in ("lora", "gain", "tied-scale") else None
        self.adapter: Any = nn.Conv2d(inp, rank, 1, bias=False) if mode == "lora" else None
        self.gain: Any = nn.Parameter(torch.randn(out)) if mode in ("gain", "tied-scale") else None
        self.kernel: Any = nn.Parameter(torch.randn(out, rank, 3, 3)) if mode == "composed" else None
        self.bank: Any = nn.Parameter(torch.randn(rank, out, inp, 3, 3)) if mode == "experts" else None
        self.router: Any = nn.Linear(inp, rank) if mode == "experts" else None

    def forward(self, x: Tensor) -> Tensor:
        match self.mode:
            case "low-rank":
                return F.conv2d(x, (self.up @ self.down)[:, :, None, None], self.bias)
            case "lora":  # beside the layer, as adapters are before they are merged
                return self.base(x) + 0.5 * F.conv2d(self.adapter(x), self.up[:, :, None, None])
            case "composed":
                return F.conv2d(
                    x, torch.einsum("orhw,ri->oihw", self.kernel, self.down), self.bias, padding=1
                )
            case "gain":  # the gain scales the weight, and gates what comes out
                weight = self.base.weight * self.gain[:, None, None, None]
                return F.conv2d(x, weight, self.base.bias, padding=1) * self.gain.sigmoid()[:, None, None]
            case "tied-scale":  # filters of unit size times a gain (scaled weight standardisation)
                weight = self.base.weight
                size = weight.flatten(1).norm(dim=1)[:, None, None, None]
                return F.conv2d(
                    x, weight / (size + 1e-4) * self.gain[:, None, None, None], self.bias, padding=1
                )
            case "outer":
                return F.conv2d(x, (self.up[:, :1] * self.down[:1])[:, :, None, None], self.bias)
            case _:  # one kernel for all pictures, chosen by what they have in common
                choice = self.router(x.mean((0, 2, 3))).softmax(-1)
                return F.conv2d(x, torch.einsum("r,roihw->oihw", choice, self.bank), self.bias, padding=1)


class LowRankLinear(nn.Module):
    """A 1x1 convolution as a linear layer with an adapter whose product is added to its weight (LoRA)."""

    def __init__(self, inp: int, out: int, rank: int) -> None:
        super().__init__()
        self.base = nn.Linear(inp, out)
        self.a, self.b = nn.Parameter(torch.randn(rank, inp)), nn.Parameter(torch.randn(out, rank))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.permute(0, 2, 3, 1)
        return F.linear(tokens, self.base.weight + 0.7 * (self.b @ self.a), self.base.bias).permute(
            0, 3, 1, 2
        )


class Masked(nn.Module):
    """A parametrisation: the weight times a fixed pattern."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.register_buffer("pattern", (torch.arange(like.numel()) % 3 > 0).to(like.dtype).view_as(like))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.pattern


class ParametrisedConv(nn.Module):
    """A convolution with a parametrised weight, and a norm behind it."""

    def __init__(self, inp: int, out: int, *, mode: str) -> None:
        super().__init__()
        conv = nn.Conv2d(inp, out, 3, padding=1)
        match mode:
            case "weight-norm":
                self.conv: nn.Module = parametrizations.weight_norm(conv)
            case "spectral-norm":
                self.conv = parametrizations.spectral_norm(conv)
            case _:
                nn.utils.parametrize.register_parametrization(conv, "weight", Masked(conv.weight))
                self.conv = conv
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))
