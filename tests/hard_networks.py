"""Small networks that other pruning tools get wrong: each has `example_inputs()`, weights are randomised by
`make`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.network_calls import Inputs
from tests.networks import randomise


class HardNetwork(nn.Module):
    """One image of 3x8x8 in, unless a network says otherwise."""

    def example_inputs(self) -> Inputs:
        return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def make(kind: type[HardNetwork]) -> tuple[HardNetwork, Inputs]:
    """The network with random weights and batch-norm statistics in eval mode, and its inputs."""
    network = kind()
    randomise(network, torch.Generator().manual_seed(0))
    return network.eval(), network.example_inputs()


def unit(inp: int, out: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inp, out, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


class ViewLiteral(HardNetwork):
    """`x.view(-1, 256)` before a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return self.linear(x.view(-1, 256))


class ReshapeLiterals(HardNetwork):
    """Channels, and channels times positions, as numbers in the source."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.linear = unit(3, 12), unit(12, 12, 1), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x).reshape(x.shape[0], 12, 64)
        x = self.two((x * 2).view(-1, 12, 8, 8))
        return self.linear(torch.flatten(x.mean((2, 3)), 1).reshape(-1, 12))


class PixelShuffleNet(HardNetwork):
    """Sub-pixel upsampling and its inverse after convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.up, self.two = unit(3, 16), nn.PixelShuffle(2), nn.Conv2d(4, 4, 3, padding=1)
        self.down, self.three = nn.PixelUnshuffle(2), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.three(self.down(F.relu(self.two(self.up(self.one(x))))))


class FunctionalConv(HardNetwork):
    """`F.conv2d` with a parameter of the module itself, next to `F.linear`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.w, self.b = nn.Parameter(torch.randn(10, 8, 3, 3)), nn.Parameter(torch.randn(10))
        self.v = nn.Parameter(torch.randn(4, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(F.relu(self.first(x)), self.w, self.b, padding=1))
        return F.linear(x.mean((2, 3)), self.v)


class Offsets(HardNetwork):
    """Concatenations and unequal splits, whose offsets have to be kept apart."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = unit(3, 5), unit(3, 7), unit(3, 4)
        self.p, self.q, self.last = unit(9, 6, 1), unit(7, 6, 1), nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.a(x), self.b(x), self.c(x)], 1)
        left, right = y.split([9, 7], 1)
        return self.last(torch.cat([self.q(right), self.p(left)], 1))


class Pieces(HardNetwork):
    """chunk, unbind, tensor_split and slices with literals, on one tensor after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three, self.last = unit(3, 12), unit(6, 12), unit(6, 12), nn.Conv2d(12, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.one(x).chunk(2, dim=1)
        c, d = self.two(a * b).unflatten(1, (2, 6)).unbind(1)
        e, f, g = torch.tensor_split(self.three(c + d), 3, dim=1)
        return self.last(torch.cat([e + f, g, (e * g)[:, :2], f[:, 2:]], 1))


class GroupsOfOne(HardNetwork):
    """Depthwise, grouped and one-channel convolutions: in == out == groups, a multiplier, groups < channels,
    out == 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depth, self.twofold = unit(3, 8), unit(8, 8, 3, 8), unit(8, 16, 3, 8)
        self.group, self.single = unit(16, 12, 3, 4), nn.Conv2d(12, 1, 1)
        self.wide, self.last = unit(1, 6), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(
            self.wide(torch.sigmoid(self.single(self.group(self.twofold(self.depth(self.stem(x)))))))
        )


class Bottleneck(nn.Module):
    """The bottleneck of YOLOv8."""

    def __init__(self, width: int, add: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = unit(width, width), unit(width, width), add

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C2f(nn.Module):
    """The cross-stage block of YOLOv8: chunk, a growing list, concatenation."""

    def __init__(self, inp: int, out: int, n: int, add: bool) -> None:
        super().__init__()
        self.c = out // 2
        self.cv1, self.cv2 = unit(inp, 2 * self.c, 1), unit((2 + n) * self.c, out, 1)
        self.m = nn.ModuleList(Bottleneck(self.c, add) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class SPPF(nn.Module):
    """Fast spatial pyramid pooling: one pool reused on its own output."""

    def __init__(self, inp: int, out: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.m = unit(inp, inp // 2, 1), unit(inp * 2, out, 1), nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class Detect(nn.Module):
    """A detection head: boxes as distributions over bins (a fixed convolution) and classes, at two
    resolutions.
    """

    def __init__(self, channels: tuple[int, int], classes: int, bins: int = 4) -> None:
        super().__init__()
        self.bins, self.classes, self.no = bins, classes, classes + 4 * bins
        self.cv2 = nn.ModuleList(nn.Sequential(unit(c, 8), nn.Conv2d(8, 4 * bins, 1)) for c in channels)
        self.cv3 = nn.ModuleList(nn.Sequential(unit(c, 6), nn.Conv2d(6, classes, 1)) for c in channels)
        self.dfl = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)

    def forward(self, xs: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        maps = [torch.cat([self.cv2[i](x), self.cv3[i](x)], 1) for i, x in enumerate(xs)]
        joined = torch.cat([y.view(y.shape[0], self.no, -1) for y in maps], 2)
        box, scores = joined.split((4 * self.bins, self.classes), 1)
        b, _, n = box.shape
        box = self.dfl(box.view(b, 4, self.bins, n).transpose(2, 1).softmax(1)).view(b, 4, n)
        return torch.cat([box, scores.sigmoid()], 1), maps


class YoloLike(HardNetwork):
    """Backbone with C2f and SPPF, a neck with upsampling and concatenation, a detection head with several
    outputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.c2f, self.down = unit(3, 8), C2f(8, 12, 2, True), nn.Conv2d(12, 16, 3, 2, 1)
        self.sppf, self.neck, self.detect = SPPF(16, 16), C2f(28, 12, 1, False), Detect((12, 16), 5)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        p3 = self.c2f(self.stem(x))
        p4 = self.sppf(F.silu(self.down(p3)))
        n3 = self.neck(torch.cat([F.interpolate(p4, scale_factor=2.0), p3], 1))
        return self.detect([n3, p4])


class BatchNormShift(HardNetwork):
    """Batch norms whose shift makes something of a zeroed filter: two in a row, and one before the
    activation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.one, self.bn1, self.bn2 = nn.Conv2d(3, 10, 3, padding=1), nn.BatchNorm2d(10), nn.BatchNorm2d(10)
        self.two, self.bn3, self.last = nn.Conv2d(10, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.bn3(self.two(F.relu(self.bn2(self.bn1(self.one(x))))))))


class Norms(HardNetwork):
    """Transposed convolution, group norm, instance norms with and without scale, PReLU with one slope and
    with many.
    """

    def __init__(self) -> None:
        super().__init__()
        self.up, self.instance = nn.ConvTranspose2d(3, 8, 2, 2), nn.InstanceNorm2d(8, affine=True)
        self.grouped = nn.ConvTranspose2d(8, 12, 3, 2, 1, 1, groups=4)
        self.group, self.many, self.single = nn.GroupNorm(4, 12), nn.PReLU(12), nn.PReLU()
        self.plain, self.last = nn.InstanceNorm2d(8), nn.Conv2d(12, 2, 1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.single(self.instance(self.up(x)))
        return self.last(self.many(self.group(self.grouped(self.plain(self.middle(x))))))


class Attributes(HardNetwork):
    """Sizes kept as attributes: `self.width`, a tuple, and the number and size of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.shape, self.heads, self.head_size = 12, (12, 64), 3, 4
        self.stem, self.qkv, self.last = unit(3, 12), nn.Linear(12, 36), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).view(-1, *self.shape).transpose(1, 2)
        q, k, v = self.qkv(x).reshape(-1, 64, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, 64, self.width)
        return self.last(x.mean(1))


class Unknown(HardNetwork):
    """Operators that no pruning tool has a rule for, between ordinary layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = unit(3, 8), unit(8, 8), unit(8, 6)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(x))
        x = torch.cumsum(x, 1) + torch.sort(x, 1).values + torch.fft.fft(x, dim=1).real
        return self.last(self.three(x))


class Shared(HardNetwork):
    """One convolution used at two depths, one norm used twice, and one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = unit(3, 8), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.a, self.b, self.last = nn.Conv2d(8, 6, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = F.relu(self.norm(self.conv(x)))
        x = F.relu(self.norm(self.conv(x)))
        return self.last(self.a(x) * self.b(F.max_pool2d(x, 3, 1, 1)))


class UNet(HardNetwork):
    """Two levels, skip concatenations, transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.d1, self.d2, self.mid = unit(3, 6), unit(6, 8), unit(8, 10)
        self.u2, self.c2 = nn.ConvTranspose2d(10, 8, 2, 2), unit(16, 8)
        self.u1, self.c1, self.last = nn.ConvTranspose2d(8, 6, 2, 2), unit(12, 6), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        y = self.mid(F.max_pool2d(b, 2))
        y = self.c2(torch.cat([b, self.u2(y)], 1))
        return self.last(self.c1(torch.cat([a, self.u1(y)], 1)))


class ShuffleNetBlock(HardNetwork):
    """Both kinds of block of ShuffleNet v2: with a stride, then chunk, branch, concatenation, channel
    shuffle.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(3, 8)
        self.left = nn.Sequential(
            nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False), nn.BatchNorm2d(8), unit(8, 6, 1)
        )
        self.right = nn.Sequential(
            unit(8, 6, 1), nn.Conv2d(6, 6, 3, 2, 1, groups=6), nn.BatchNorm2d(6), unit(6, 6, 1)
        )
        self.branch = nn.Sequential(
            unit(6, 6, 1), nn.Conv2d(6, 6, 3, 1, 1, groups=6), nn.BatchNorm2d(6), unit(6, 6, 1)
        )
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self._shuffle(torch.cat((self.left(x), self.right(x)), 1))
        for _ in range(2):
            a, b = x.chunk(2, 1)
            x = self._shuffle(torch.cat((a, self.branch(b)), 1))
        return self.last(x.mean([2, 3]))

    def _shuffle(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, c, h, w)


class OptionA(HardNetwork):
    """A CIFAR ResNet's stage transition: every second pixel, zeros for the new channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one = unit(3, 8), nn.Conv2d(8, 16, 3, 2, 1, bias=False)
        self.bn1, self.two, self.bn2 = (
            nn.BatchNorm2d(16),
            nn.Conv2d(16, 16, 3, 1, 1, bias=False),
            nn.BatchNorm2d(16),
        )
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.bn2(self.two(F.relu(self.bn1(self.one(x)))))
        y = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4), "constant", 0))
        return self.last(F.avg_pool2d(y, y.size()[3]).view(y.size(0), -1))


class WindowAttention(HardNetwork):
    """Attention in shifted windows with a table of relative positions, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 2, 2), nn.LayerNorm(16)
        self.heads, self.window = 2, 2
        self.qkv, self.proj, self.last = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 4)
        self.mlp = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.table = nn.Parameter(torch.randn(9, 2))
        grid = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij")).flatten(1)
        offset = grid[:, :, None] - grid[:, None, :] + 1
        self.register_buffer("index", offset[0] * 3 + offset[1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        x = x + torch.roll(self._attend(torch.roll(self.norm(x), (-1, -1), (1, 2))), (1, 1), (1, 2))
        x = x + self.mlp(self.norm(x))
        return self.last(x.mean((1, 2)))

    def _attend(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        s = self.window
        x = x.view(b, h // s, s, w // s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)
        q, k, v = self.qkv(x).reshape(-1, s * s, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(s * s, s * s, -1).permute(2, 0, 1)
        x = ((q * 0.4 @ k.transpose(-2, -1)) + bias).softmax(-1) @ v
        x = self.proj(x.transpose(1, 2).reshape(-1, s * s, c))
        return x.view(b, h // s, w // s, s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)


class DataDependent(HardNetwork):
    """Control flow that depends on the values in a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.last = unit(3, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        if y.mean() > 0:  # the line that the error has to name
            y = y * 2
        return self.last(y)


HARD_NETWORKS: tuple[type[HardNetwork], ...] = (
    ViewLiteral,
    ReshapeLiterals,
    PixelShuffleNet,
    FunctionalConv,
    Offsets,
    Pieces,
    GroupsOfOne,
    YoloLike,
    BatchNormShift,
    Norms,
    Attributes,
    Unknown,
    Shared,
    UNet,
    ShuffleNetBlock,
    OptionA,
    WindowAttention,
)
