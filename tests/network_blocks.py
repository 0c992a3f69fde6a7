"""Building blocks of the random networks: small modules that take one feature map and give one.

`literal` says where a forward pass has its sizes from: "tensor" reads them off the tensor, "attribute" off an
integer attribute of the module, and with "source" they stand in the code as plain numbers, where nothing can
change them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.network_norms import norm

ACTIVATIONS = tuple(
    "relu none silu gelu hardswish sigmoid softplus leaky prelu prelu1 tanh elu hardsigmoid relu6".split()
)


Literal = int | Callable[[], int] | None


def literal_size(where: str, size: int) -> Literal:
    """What a module has to keep for `size_of`; a closure is as much out of reach as a
    number in the source.
    """
    return {"tensor": None, "attribute": size, "source": lambda: size}[where]


def size_of(literal: Literal, tensor_size: int) -> int:
    """The size to use, which is the tensor's own unless it is written down."""
    if literal is None:
        return tensor_size
    return literal() if callable(literal) else literal


def activation(name: str, channels: int) -> nn.Module:
    """The activation called `name`."""
    kinds: dict[str, Any] = {
        "none": nn.Identity,
        "relu": nn.ReLU,
        "silu": nn.SiLU,
        "gelu": nn.GELU,
        "hardswish": nn.Hardswish,
        "sigmoid": nn.Sigmoid,
        "softplus": nn.Softplus,
        "leaky": lambda: nn.LeakyReLU(0.1),
        "tanh": nn.Tanh,
        "elu": nn.ELU,
        "hardsigmoid": nn.Hardsigmoid,
        "relu6": nn.ReLU6,
        "prelu": lambda: nn.PReLU(channels),
        "prelu1": lambda: nn.PReLU(1),
    }
    made: nn.Module = kinds[name]()
    return made


class Conv(nn.Module):
    """Convolution, normalisation, activation; or normalisation and activation first."""

    def __init__(
        self,
        inp: int,
        out: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        norm_name: str = "none",
        act: str = "none",
        first: bool = False,
    ) -> None:
        super().__init__()
        self.first = first
        self.conv = nn.Conv2d(inp, out, kernel, stride, dilation * (kernel // 2), dilation, groups, bias)
        self.norm = norm(norm_name, inp if first else out)
        self.act = activation(act, inp if first else out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.act(self.norm(x))) if self.first else self.act(self.norm(self.conv(x)))


class Transposed(nn.Module):
    """Transposed convolution that doubles the resolution."""

    def __init__(self, inp: int, out: int, *, kernel: int, groups: int, bias: bool, act: str) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inp, out, kernel, 2, kernel // 2, kernel % 2, groups, bias)
        self.act = activation(act, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


class FunctionalConv(nn.Module):
    """`F.conv2d` with the module's own parameters, optionally standardised per filter."""

    def __init__(self, inp: int, out: int, *, standardise: bool, bias: bool) -> None:
        super().__init__()
        self.standardise = standardise
        self.w = nn.Parameter(torch.randn(out, inp, 3, 3))
        self.b: Any = nn.Parameter(torch.randn(out)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        w: Tensor = self.w
        if self.standardise:
            w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return F.conv2d(x, w, self.b, padding=1)


class Pool(nn.Module):
    """Pooling and resampling: whatever changes the resolution only."""

    def __init__(self, *, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        match self.mode:
            case "max":
                return F.max_pool2d(x, 2)
            case "avg":
                return F.avg_pool2d(x, 3, 1, 1)
            case "adaptive":
                return F.adaptive_avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2))
            case "nearest":
                return F.interpolate(x, scale_factor=2.0, mode="nearest")
            case "bilinear":
                return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            case "reflect":
                return F.pad(x, (1, 0, 1, 0), mode="reflect")
            case _:
                return x[:, :, ::2, ::2]


class Pixels(nn.Module):
    """Pixel shuffle by two, or its inverse."""

    def __init__(self, *, up: bool) -> None:
        super().__init__()
        self.shuffle = nn.PixelShuffle(2) if up else nn.PixelUnshuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(x)


class Shuffle(nn.Module):
    """The channel shuffle of ShuffleNet."""

    def __init__(self, channels: int, *, groups: int, literal: str) -> None:
        super().__init__()
        self.groups, self.channels = groups, literal_size(literal, channels)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        c = size_of(self.channels, c)
        return x.view(b, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(b, c, h, w)


class Reorder(nn.Module):
    """Channels rolled, reversed, permuted by a buffer, or doubled."""

    def __init__(self, channels: int, *, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.register_buffer("order", torch.arange(channels).roll(channels // 2).flip(0))

    def forward(self, x: Tensor) -> Tensor:
        match self.mode:
            case "roll":
                return torch.roll(x, 1, 1)
            case "flip":
                return x.flip(1)
            case "index":
                return x.index_select(1, self.order)
            case "double":
                return torch.cat([x, x], 1)
            case "repeat":
                return x.repeat(1, 2, 1, 1)
            case _:
                return x.repeat_interleave(2, 1)


class PadChannels(nn.Module):
    """New channels of zeros before and after (the option-A shortcut)."""

    def __init__(self, *, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))


class SqueezeExcite(nn.Module):
    """Gate every channel by a function of all channel means; with linear layers or 1x1 convolutions."""

    def __init__(self, channels: int, hidden: int, *, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(channels, hidden) if linear else nn.Conv2d(channels, hidden, 1)
        self.up = nn.Linear(hidden, channels) if linear else nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.linear:
            b, c = x.shape[:2]
            gate = self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid().view(b, c, 1, 1)
        else:
            gate = self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        return x * gate


class Broadcast(nn.Module):
    """A learned scale per channel, learned offset per channel, position or both; or something without
    parameters.
    """

    def __init__(self, channels: int, height: int, width: int, *, mode: str) -> None:
        super().__init__()
        self.mode = mode
        shape = {
            "scale": (channels, 1, 1),
            "offset": (1, channels, 1, 1),
            "position": (1, 1, height, width),
            "both": (1, channels, height, width),
        }.get(mode)
        self.p: Any = nn.Parameter(torch.randn(shape)) if shape else None

    def forward(self, x: Tensor) -> Tensor:
        match self.mode:
            case "scale":
                return x * self.p
            case "context":
                return x + x.mean((2, 3), keepdim=True)
            case "affine":
                return 2 * x + 0.5
            case "square":
                return x * x - x.abs()
            case "spatial-gate":
                return x * x.mean(1, keepdim=True).sigmoid()
            case "normalize":
                return F.normalize(x, dim=1)
            case "softmax":
                return x.flatten(2).softmax(-1).view_as(x)
            case _:
                return x + self.p


class Tokens(nn.Module):
    """Flatten space, apply a linear layer or a 1-d convolution to every position, and fold back."""

    def __init__(self, inp: int, out: int, *, linear: bool, literal: str) -> None:
        super().__init__()
        self.inp, self.out = literal_size(literal, inp), literal_size(literal, out)
        self.mix = nn.Linear(inp, out) if linear else nn.Conv1d(inp, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.reshape(b, size_of(self.inp, c), h * w)
        linear = isinstance(self.mix, nn.Linear)
        mixed = self.mix(tokens.transpose(1, 2)).transpose(1, 2) if linear else self.mix(tokens)
        return mixed.reshape(b, size_of(self.out, mixed.shape[1]), h, w)


class Attention(nn.Module):
    """Multi-head self-attention over the positions, with a residual."""

    def __init__(self, channels: int, *, heads: int, literal: str, separate: bool) -> None:
        super().__init__()
        self.heads, self.size = heads, literal_size(literal, channels // heads)
        self.qkv: Any = nn.ModuleList(nn.Linear(channels, channels) for _ in range(3)) if separate else None
        self.joint = None if separate else nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        if self.joint is None:
            q, k, v = (self._split(layer(tokens)) for layer in self.qkv)
        else:
            q, k, v = map(self._split, self.joint(tokens).chunk(3, -1))
        weights = (q @ k.transpose(-2, -1) * 0.3).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        return x + self.proj(mixed).transpose(1, 2).reshape(x.shape)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.view(*tokens.shape[:2], self.heads, size_of(self.size, -1)).transpose(1, 2)


class Maxout(nn.Module):
    """The larger of two neighbours, or of the two halves, among the channels."""

    def __init__(self, *, neighbours: bool) -> None:
        super().__init__()
        self.neighbours = neighbours

    def forward(self, x: Tensor) -> Tensor:
        if self.neighbours:
            return x.unflatten(1, (-1, 2)).amax(2)
        a, b = x.unflatten(1, (2, -1)).unbind(1)
        return torch.maximum(a, b)


class SimpleGate(nn.Module):
    """One half of the channels gates the other."""

    def __init__(self, *, sigmoid: bool) -> None:
        super().__init__()
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return a * b.sigmoid() if self.sigmoid else a * b


class Head(nn.Module):
    """From a feature map to one output."""

    def __init__(self, channels: int, height: int, width: int, out: int, *, mode: str) -> None:
        super().__init__()
        size = channels * height * width
        self.mode, self.size = mode, literal_size("source" if mode == "source" else "attribute", size)
        match mode:
            case "map":
                self.last: nn.Module = nn.Conv2d(channels, out, 1)
            case "features":
                self.last = nn.Identity()
            case "flatten" | "view" | "attribute" | "source":
                self.last = nn.Linear(size, out)
            case "deep":
                self.last = nn.Sequential(
                    nn.Linear(channels, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(), nn.Linear(7, out)
                )
            case _:
                self.last = nn.Linear(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        match self.mode:
            case "map" | "features":
                return self.last(x)
            case "flatten":
                return self.last(x.flatten(1))
            case "view":
                return self.last(x.contiguous().view(x.size(0), -1))
            case "attribute" | "source":
                return self.last(x.reshape(-1, size_of(self.size, -1)))
            case "mean":
                return self.last(x.mean((2, 3)))
            case "max":
                return self.last(x.amax((-2, -1)))
            case _:
                return self.last(F.adaptive_avg_pool2d(x, 1).flatten(1))
