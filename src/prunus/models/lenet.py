"""The LeNets of the pruning literature: LeNet-5 with widths 20-50-500-10, and LeNet-300-100."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import at_least, checked
from prunus.errors import ConfigError
from prunus.models.built import noted

KERNEL = 5
SMALL_IMAGE = 16  # below this side two unpadded 5x5 convolutions leave nothing to pool


class LeNet5(nn.Module):
    """Two 5x5 convolutions with max pooling, then two linear layers, ReLU after all but the last.

    The widths are those of Caffe's LeNet, on which the pruning papers report, and so is everything else but
    the ReLU after the convolutions, which is our choice (Caffe has one after the first linear layer only).

    Images of less than 16 pixels a side (the 8x8 digits) get convolutions padded by 2, so that they keep
    their side and only the poolings halve it: 8 -> 4 -> 2. That variant is our choice too; the widths stay
    the same.

    Args:
        num_classes: classes told apart.
        in_channels: planes of the input, 1 for grey.
        image_size: side of the square input [pixels], at least 4.
    """

    @checked()
    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> None:
        at_least(1, num_classes=num_classes, in_channels=in_channels)
        super().__init__()
        if image_size < 4:
            raise ConfigError(
                f"LeNet-5 pools twice by 2, so image_size must be at least 4, not {image_size}."
            )
        padding = KERNEL // 2 if image_size < SMALL_IMAGE else 0
        side = image_size
        for _ in range(2):
            side = (side + 2 * padding - KERNEL + 1) // 2
        self.conv1 = nn.Conv2d(in_channels, 20, KERNEL, padding=padding)
        self.conv2 = nn.Conv2d(20, 50, KERNEL, padding=padding)
        self.fc1 = nn.Linear(50 * side * side, 500)
        self.fc2 = nn.Linear(500, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, in_channels, image_size, image_size) to logits (batch, num_classes)."""
        # pooled first: the same numbers and gradients, and a quarter of them to rectify
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(x)  # type: ignore[no-any-return]


@checked(ConfigError)
@noted
def lenet5(num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> LeNet5:
    """LeNet-5, 20-50-500-10; see `LeNet5`.

    Raises:
        ConfigError: `image_size` is under 4 pixels.
    """
    return LeNet5(num_classes, in_channels, image_size)


class LeNet300(nn.Module):
    """LeNet-300-100: three linear layers, ReLU after all but the last.

    Args:
        num_classes: classes told apart.
        in_channels: planes of the input, 1 for grey.
        image_size: side of the square input [pixels].
    """

    @checked()
    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> None:
        at_least(1, num_classes=num_classes, in_channels=in_channels, image_size=image_size)
        super().__init__()
        self.fc1 = nn.Linear(in_channels * image_size * image_size, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, in_channels, image_size, image_size) to logits (batch, num_classes)."""
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        x = F.relu(self.fc2(x))
        return self.fc3(x)  # type: ignore[no-any-return]


@checked(ConfigError)
@noted
def lenet300(num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> LeNet300:
    """LeNet-300-100; see `LeNet300`.

    Raises:
        ArgumentError: a number below 1.
    """
    return LeNet300(num_classes, in_channels, image_size)
