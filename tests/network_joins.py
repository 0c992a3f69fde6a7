"""Building blocks of the random networks that join several branches; each branch is a module that is handed
in.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Chain(nn.Module):
    """The parts, one after the other, in a Python loop."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


class Residual(nn.Module):
    """Body plus shortcut; the shortcut is the identity, a projection, or padded with zero channels."""

    def __init__(
        self, body: nn.Module, shortcut: nn.Module | None = None, *, relu: bool, weighted: bool
    ) -> None:
        super().__init__()
        self.body, self.shortcut, self.relu = body, shortcut, relu
        self.weight: Any = nn.Parameter(torch.randn(1)) if weighted else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.weight is not None:
            y = y * self.weight
        y = y + (x if self.shortcut is None else self.shortcut(x))
        return F.relu(y) if self.relu else y


class PadShortcut(nn.Module):
    """Two new halves of zero channels (the option-A shortcut of CIFAR ResNets)."""

    def __init__(self, *, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, self.before, self.after), "constant", 0)


class Branches(nn.Module):
    """Parallel branches of one input: concatenated, added, multiplied, or chosen by a softmax over the
    branches.
    """

    def __init__(self, *parts: nn.Module, mode: str) -> None:
        super().__init__()
        self.parts, self.mode = nn.ModuleList(parts), mode
        self.choice: Any = nn.Parameter(torch.randn(len(parts), 1, 1, 1, 1)) if mode == "select" else None

    def forward(self, x: Tensor) -> Tensor:
        ys = [part(x) for part in self.parts]
        match self.mode:
            case "concat":
                return torch.cat(ys, 1)
            case "keep-concat":
                return torch.cat([x, *ys], dim=1)
            case "add":
                return sum(ys[1:], ys[0])
            case "multiply":
                return ys[0] * torch.sigmoid(ys[-1])
            case "maximum":
                return torch.maximum(ys[0], ys[-1])
            case "interleave":
                return torch.stack(ys, 2).flatten(1, 2)
            case _:
                return (torch.stack(ys) * self.choice.softmax(0)).sum(0)


class Dense(nn.Module):
    """Every part sees the concatenation of everything before it (DenseNet, and YOLO's C2f
    without the split).
    """

    def __init__(self, *parts: nn.Module, keep: bool) -> None:
        super().__init__()
        self.parts, self.keep = nn.ModuleList(parts), keep

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for part in self.parts:
            features.append(part(torch.cat(features, 1)))
        return torch.cat(features, 1) if self.keep else features[-1]


class Split(nn.Module):
    """Split the channels, give each piece to its own part, and concatenate; `how` says
    with which operator.
    """

    def __init__(self, *parts: nn.Module, sizes: tuple[int, ...], how: str, source: bool, swap: bool) -> None:
        super().__init__()
        self.parts, self.how, self.swap, self.number = nn.ModuleList(parts), how, swap, len(sizes)
        self.sizes = (lambda: sizes) if source else sizes

    def forward(self, x: Tensor) -> Tensor:
        ys = [part(piece) for part, piece in zip(self.parts, self._pieces(x), strict=True)]
        return torch.cat(ys[::-1] if self.swap else ys, 1)

    def _pieces(self, x: Tensor) -> tuple[Tensor, ...]:
        n = self.number
        sizes = self.sizes() if callable(self.sizes) else self.sizes
        match self.how:
            case "chunk":
                return x.chunk(n, 1)
            case "tensor_split":
                return torch.tensor_split(x, n, 1)
            case "unbind":
                return x.unflatten(1, (n, -1)).unbind(1)
            case "index":
                groups = x.view(x.shape[0], n, -1, *x.shape[2:])
                return tuple(groups[:, i] for i in range(n))
            case "stride":
                return tuple(x[:, i::n] for i in range(n))
            case "slice":
                starts = [sum(sizes[:i]) for i in range(n)]
                return tuple(x[:, a : a + size] for a, size in zip(starts, sizes, strict=True))
            case "narrow":
                starts = [sum(sizes[:i]) for i in range(n)]
                return tuple(x.narrow(1, a, size) for a, size in zip(starts, sizes, strict=True))
            case _:
                return x.split(list(sizes), 1)


class Cascade(nn.Module):
    """Equal pieces, each added to the next one's input (Res2Net); or all kept as in YOLO's C2f."""

    def __init__(self, *parts: nn.Module, width: int, source: bool, add: bool) -> None:
        super().__init__()
        self.parts, self.add = nn.ModuleList(parts), add
        self.width = (lambda: width) if source else width

    def forward(self, x: Tensor) -> Tensor:
        pieces = list(torch.split(x, self.width() if callable(self.width) else self.width, 1))
        kept = [pieces[0]]
        for part, piece in zip(self.parts, pieces[1:], strict=True):
            kept.append(part(piece + kept[-1] if self.add else kept[-1]))
        return torch.cat(kept if self.add else pieces + kept[1:], 1)


class Twice(nn.Module):
    """One shared body used twice: in a row, with a batch norm of its own each time, or on two resolutions."""

    def __init__(self, body: nn.Module, channels: int, *, mode: str) -> None:
        super().__init__()
        self.body, self.mode = body, mode
        self.norms: Any = (
            nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2)) if mode == "norms" else None
        )

    def forward(self, x: Tensor) -> Tensor:
        match self.mode:
            case "norms":
                return self.norms[1](self.body(F.relu(self.norms[0](self.body(x)))))
            case "pyramid":
                return self.body(x) + F.interpolate(self.body(F.max_pool2d(x, 2)), size=x.shape[2:])
            case "pools":
                y = self.body(x)
                z = F.max_pool2d(y, 3, 1, 1)
                return torch.cat([y, z, F.max_pool2d(z, 3, 1, 1)], 1)
            case _:
                return self.body(self.body(x))


class Hourglass(nn.Module):
    """Down, body, up, and concatenated with or added to what came in (one level of a U-Net)."""

    def __init__(self, down: nn.Module, up: nn.Module, *, concat: bool) -> None:
        super().__init__()
        self.down, self.up, self.concat = down, up, concat

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(F.max_pool2d(self.down(x), 2))
        y = F.interpolate(y, size=x.shape[2:], mode="nearest") if y.shape[2:] != x.shape[2:] else y
        return torch.cat([y, x], 1) if self.concat else y + x


class Fork(nn.Module):
    """The whole network: merge the inputs, run the stages, and give the outputs in a nested structure."""

    def __init__(
        self,
        stem: nn.Module,
        second: nn.Module | None,
        stages: list[nn.Module],
        heads: list[nn.Module],
        unused: nn.Module | None,
        auxiliary: nn.Module | None,
        *,
        merge: str,
        taps: tuple[int, ...],
        nesting: str,
    ) -> None:
        super().__init__()
        self.stem, self.second, self.unused, self.auxiliary = stem, second, unused, auxiliary
        self.stages, self.heads = nn.ModuleList(stages), nn.ModuleList(heads)
        self.merge, self.taps, self.nesting = merge, taps, nesting

    def forward(self, image: Tensor, other: Tensor | None = None) -> object:
        x = self._merged(self.stem(image), other)
        outputs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            outputs += [head(x) for head, tap in zip(self.heads, self.taps, strict=True) if tap == i]
            if self.training and self.auxiliary is not None and i == self.taps[0]:
                outputs.insert(0, self.auxiliary(x))
        match self.nesting:
            case "tensor":
                return outputs[-1]
            case "tuple":
                return tuple(outputs)
            case "list":
                return outputs
            case "dict":
                return {f"out{i}": y for i, y in enumerate(outputs)}
            case _:
                return {"main": outputs[-1], "more": (outputs[0], [{"all": tuple(outputs)}])}

    def _merged(self, x: Tensor, other: Tensor | None) -> Tensor:
        if self.second is None or other is None:
            return x
        y = self.second(other)
        match self.merge:
            case "add":
                return x + y
            case "concat":
                return torch.cat((x, y), 1)
            case "multiply":
                return x * y
            case _:  # a vector: scale and shift per channel
                scale, shift = y[:, :, None, None].chunk(2, 1)
                return x * (1 + scale) + shift
