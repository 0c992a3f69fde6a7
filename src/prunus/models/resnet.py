"""The CIFAR ResNets of He et al. 2016 (arXiv 1512.03385, section 4.2), 6n + 2 layers, widths 16-32-64.

Parameter names are those of akamaster/pytorch_resnet_cifar10, so its checkpoints load as they are.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import at_least, checked
from prunus.errors import ConfigError
from prunus.models.built import noted

Shortcut = Literal["A", "projection"]
WIDTHS = (16, 32, 64)


class ShortcutA(nn.Module):
    """The parameter-free shortcut, option A: every second pixel, zero channels put before and after.

    The two counts are plain attributes because removing channels of the wider side means fewer zeros on
    either end.

    Attributes:
        pad_before: zero channels put before those of the input.
        pad_after: zero channels put after them.
    """

    @checked()
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pad_before = (out_channels - in_channels) // 2
        self.pad_after = out_channels - in_channels - self.pad_before

    def forward(self, x: Tensor) -> Tensor:
        """(batch, C, H, W) to (batch, pad_before + C + pad_after, ceil(H / 2), ceil(W / 2))."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad_before, self.pad_after))

    def extra_repr(self) -> str:
        """The two counts, for `print(model)`."""
        return f"pad_before={self.pad_before}, pad_after={self.pad_after}"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and the shortcut around them."""

    @checked()
    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module
        if stride == 1 and in_channels == out_channels:
            self.shortcut = nn.Identity()
        elif shortcut == "A":
            self.shortcut = ShortcutA(in_channels, out_channels)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, H, W) to (batch, out_channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class CifarResNet(nn.Module):
    """A CIFAR ResNet of 6 x `blocks` + 2 layers.

    Args:
        blocks: residual blocks per stage (3 for ResNet-20, 9 for ResNet-56).
        num_classes: classes told apart.
        shortcut: "A" (zero padding, as in the paper's CIFAR experiments) or "projection" (1x1 convolution and
            batch norm where the width changes, the paper's option B).
        in_channels: planes of the input, 3 for colour.

    Raises:
        ConfigError: another `shortcut`.
    """

    @checked()
    def __init__(
        self, blocks: int, num_classes: int = 10, shortcut: Shortcut = "A", in_channels: int = 3
    ) -> None:
        at_least(1, num_classes=num_classes, in_channels=in_channels)
        super().__init__()
        if shortcut not in ("A", "projection"):
            raise ConfigError(f"Unknown shortcut {shortcut!r}: it must be 'A' or 'projection'.")
        first, second, third = WIDTHS
        self.conv1 = nn.Conv2d(in_channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = _stage(first, first, blocks, 1, shortcut)
        self.layer2 = _stage(first, second, blocks, 2, shortcut)
        self.layer3 = _stage(second, third, blocks, 2, shortcut)
        self.linear = nn.Linear(third, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, in_channels, H, W) to logits (batch, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return self.linear(x)  # type: ignore[no-any-return]


def _stage(
    in_channels: int, out_channels: int, blocks: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    head = BasicBlock(in_channels, out_channels, stride, shortcut)
    return nn.Sequential(
        head, *(BasicBlock(out_channels, out_channels, 1, shortcut) for _ in range(blocks - 1))
    )


@checked(ConfigError)
@noted
def resnet8(num_classes: int = 10, shortcut: Shortcut = "A", in_channels: int = 3) -> CifarResNet:
    """ResNet-8 for CIFAR, one block a stage: 0.08 M parameters, 12.24 M MACs at 32x32."""
    return CifarResNet(1, num_classes, shortcut, in_channels)


@checked(ConfigError)
@noted
def resnet20(num_classes: int = 10, shortcut: Shortcut = "A", in_channels: int = 3) -> CifarResNet:
    """ResNet-20 for CIFAR: 0.27 M parameters, 40.55 M MACs at 32x32."""
    return CifarResNet(3, num_classes, shortcut, in_channels)


@checked(ConfigError)
@noted
def resnet32(num_classes: int = 10, shortcut: Shortcut = "A", in_channels: int = 3) -> CifarResNet:
    """ResNet-32 for CIFAR: 0.46 M parameters, 68.86 M MACs at 32x32."""
    return CifarResNet(5, num_classes, shortcut, in_channels)


@checked(ConfigError)
@noted
def resnet44(num_classes: int = 10, shortcut: Shortcut = "A", in_channels: int = 3) -> CifarResNet:
    """ResNet-44 for CIFAR: 0.66 M parameters, 97.17 M MACs at 32x32."""
    return CifarResNet(7, num_classes, shortcut, in_channels)


@checked(ConfigError)
@noted
def resnet56(num_classes: int = 10, shortcut: Shortcut = "A", in_channels: int = 3) -> CifarResNet:
    """ResNet-56 for CIFAR: 0.85 M parameters, 125.49 M MACs at 32x32."""
    return CifarResNet(9, num_classes, shortcut, in_channels)


@checked(ConfigError)
@noted
def resnet110(num_classes: int = 10, shortcut: Shortcut = "A", in_channels: int = 3) -> CifarResNet:
    """ResNet-110 for CIFAR: 1.73 M parameters, 252.89 M MACs at 32x32."""
    return CifarResNet(18, num_classes, shortcut, in_channels)
