"""Layers of the random networks with a state of their own, or that do something else in train mode."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MODES = ("dropout", "dropout2d", "functional-dropout", "drop-path", "centre", "branch", "stop-gradient")


class Trained(nn.Module):
    """A layer that train mode changes; `mode` says how."""

    def __init__(self, channels: int, *, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.drop = {"dropout": nn.Dropout(0.3), "dropout2d": nn.Dropout2d(0.3)}.get(mode, nn.Identity())
        self.branch: Any = nn.Conv2d(channels, channels, 1) if mode == "branch" else None
        if mode == "centre":
            self.register_buffer("centre", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        match self.mode:
            case "dropout" | "dropout2d":
                return self.drop(x)
            case "functional-dropout":
                return F.dropout(x, 0.2, self.training)
            case "drop-path":
                return x * (torch.rand(x.shape[0], 1, 1, 1, dtype=x.dtype) + 0.5) if self.training else x
            case "centre":
                if self.training:
                    with torch.no_grad():
                        self.centre.mul_(0.9).add_(0.1 * x.mean((0, 2, 3)))
                return x - self.centre[:, None, None]
            case "branch":
                return x + self.branch(x) if self.training else x
            case _:
                return x + x.detach().mean((2, 3), keepdim=True)


class Recurrent(nn.Module):
    """A recurrent layer that reads four strips of the picture; all positions get what it
    makes of the last.
    """

    def __init__(self, inp: int, out: int, *, cell: str, both: bool, layers: int) -> None:
        super().__init__()
        made = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
        self.rnn = made(inp, out, layers, batch_first=True, bidirectional=both)

    def forward(self, x: Tensor) -> Tensor:
        strips = F.adaptive_avg_pool2d(x, (1, 4)).squeeze(2).transpose(1, 2)
        return self.rnn(strips)[0][:, -1, :, None, None].expand(-1, -1, *x.shape[2:])


class ScaledAttention(nn.Module):
    """Self-attention whose products are scaled by a number that depends on the width; or
    over the channels.
    """

    def __init__(self, channels: int, *, heads: int, mode: str) -> None:
        super().__init__()
        self.mode, self.heads, self.scale = mode, heads, (channels // heads) ** -0.5
        self.norm = nn.LayerNorm(channels)
        self.whole: Any = (
            nn.MultiheadAttention(channels, heads, batch_first=True) if mode == "module" else None
        )
        self.qkv: Any = nn.Linear(channels, 3 * channels) if mode != "module" else None
        self.temperature: Any = nn.Parameter(torch.ones(heads, 1, 1)) if mode == "channels" else None
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        if self.whole is not None:
            mixed = self.whole(tokens, tokens, tokens, need_weights=False)[0]
        else:
            b, n, _ = tokens.shape
            q, k, v = self.qkv(tokens).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            mixed = self._mixed(q, k, v).transpose(1, 2).flatten(2)
        return x + self.proj(mixed).transpose(1, 2).reshape(x.shape)

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        match self.mode:
            case "fused":
                return F.scaled_dot_product_attention(q, k, v)
            case "attribute":
                return ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
            case "width":
                return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v
            case "linear":
                return q.softmax(-2) @ (k.softmax(-2).transpose(-2, -1) @ v)
            case _:  # over the channels (XCiT)
                q, k = F.normalize(q, dim=-2), F.normalize(k, dim=-2)
                weights = (q.transpose(-2, -1) @ k * self.temperature).softmax(-1)
                return (weights @ v.transpose(-2, -1)).transpose(-2, -1)


SCALES = ("attribute", "width", "fused", "module", "linear", "channels")
