"""U-Net (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import at_least, checked
from prunus.errors import ConfigError
from prunus.models.built import noted

WIDTH, DEPTH = 64, 4


class UNet(nn.Module):
    """Two 3x3 convolutions per level, `depth` poolings down, as many transposed convolutions up, and a skip
    connection per level.

    Convolutions are padded, so that maps keep their size (the paper crops), and have batch norm unless
    `batch_norm` is off; both are our choice and common practice.

    Args:
        num_classes: maps that come out; 1 for a binary mask.
        in_channels: planes of the input.
        width: channels of the first level, doubled with every level; the paper's is 64.
        depth: poolings; the sides of the input must be multiples of 2^depth.
        batch_norm: normalise behind every convolution but the last.
    """

    @checked()
    def __init__(
        self,
        num_classes: int = 1,
        in_channels: int = 3,
        width: int = WIDTH,
        depth: int = DEPTH,
        batch_norm: bool = True,
    ) -> None:
        at_least(1, num_classes=num_classes, in_channels=in_channels)
        super().__init__()
        if width < 1 or depth < 1:
            raise ConfigError(f"U-Net needs a width and a depth of at least 1, not {width} and {depth}.")
        widths = [width << level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            _double(a, b, batch_norm) for a, b in zip([in_channels, *widths], widths)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(_double(2 * w, w, batch_norm) for w in reversed(widths[:-1]))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, in_channels, H, W) to logits (batch, num_classes, H, W)."""
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for up, block, skip in zip(self.up, self.decoder, reversed(skips[:-1])):
            x = block(torch.cat([skip, up(x)], 1))
        return self.head(x)  # type: ignore[no-any-return]


def _double(inputs: int, outputs: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers.append(nn.Conv2d(width, outputs, 3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


@checked(ConfigError)
@noted
def unet(num_classes: int = 1, in_channels: int = 3, width: int = WIDTH, depth: int = DEPTH) -> UNet:
    """U-Net with batch norm; see `UNet`."""
    return UNet(num_classes, in_channels, width, depth)
