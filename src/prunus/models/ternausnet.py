"""TernausNet: a U-Net whose encoder is VGG-11 (Iglovikov and Shvets 2018, arXiv 1801.05746)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import at_least, checked
from prunus.errors import ConfigError, FileFormatError
from prunus.models.built import noted
from prunus.models.weights import read_state

WIDTH = 64
ENCODER = (
    (1,),
    (2,),
    (4, 4),
    (8, 8),
    (8, 8),
)  # Simonyan and Zisserman 2015, configuration A: widths per level, in units of the first
DECODER = (
    (8, 8, 4),
    (12, 8, 4),
    (12, 8, 2),
    (6, 4, 1),
    (3, 2, 0.5),
)  # inputs, middle, outputs, likewise; from the centre up
_IN_VGG = (0, 3, 6, 8, 11, 13, 16, 18)  # positions of the convolutions in torchvision's vgg11().features


class TernausNet(nn.Module):
    """VGG-11 without batch norm down, blocks of a convolution and a transposed convolution up, a skip
    connection per level.

    Args:
        num_classes: maps that come out; 1 for a binary mask.
        in_channels: planes of the input; 3 for encoder weights from ImageNet.
        width: channels of the first level, an even number; 64 for VGG-11, and for weights from ImageNet.
    """

    @checked()
    def __init__(self, num_classes: int = 1, in_channels: int = 3, width: int = WIDTH) -> None:
        at_least(1, num_classes=num_classes, in_channels=in_channels)
        super().__init__()
        if width < 2 or width % 2:
            raise ConfigError(f"TernausNet needs an even width of at least 2, not {width}.")
        widths = [in_channels, *(width * times for level in ENCODER for times in level)]
        self.encoder = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(_Up(*(int(width * times) for times in block)) for block in DECODER)
        self.last = nn.Conv2d(3 * width // 2, width // 2, 3, padding=1)
        self.head = nn.Conv2d(width // 2, num_classes, 1)
        for module in self.modules():
            if isinstance(
                module, (nn.Conv2d, nn.ConvTranspose2d)
            ):  # without batch norm the signal would fade away in so many layers
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, in_channels, H, W), sides that are multiples of 32, to logits (batch, num_classes,
        H, W).
        """
        skips, position = [], 0
        for level in ENCODER:
            for _ in level:
                x = F.relu(self.encoder[position](x))
                position += 1
            skips.append(x)
            x = F.max_pool2d(x, 2)
        for block, skip in zip(self.decoder, reversed(skips)):
            x = torch.cat([block(x), skip], 1)
        return self.head(F.relu(self.last(x)))  # type: ignore[no-any-return]


class _Up(nn.Module):
    """A 3x3 convolution, and a transposed one that doubles the side."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, middle, 3, padding=1)
        self.up = nn.ConvTranspose2d(middle, outputs, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.up(F.relu(self.conv(x))))


@checked(ConfigError)
@noted
def ternausnet(num_classes: int = 1, in_channels: int = 3, width: int = WIDTH) -> TernausNet:
    """TernausNet with random weights; see `TernausNet`."""
    return TernausNet(num_classes, in_channels, width)


@checked(ConfigError)
def load_encoder(model: TernausNet, path: str | Path) -> None:
    """Fill the encoder, in place, from a weight file of torchvision's `vgg11`.

    Raises:
        FileFormatError: no such file, or one without VGG-11's convolutions (the text names the first that is
            missing or has another shape).
    """
    state = read_state(path)
    found: dict[str, Tensor] = {}
    for index, position in enumerate(_IN_VGG):
        for part in ("weight", "bias"):
            name, own = f"features.{position}.{part}", getattr(model.encoder[index], part)
            if name not in state or state[name].shape != own.shape:
                raise FileFormatError(
                    f"{path} has no {name} of shape {tuple(own.shape)}; weights of torchvision's vgg11 are"
                    " needed."
                )
            found[f"{index}.{part}"] = state[name]
    model.encoder.load_state_dict(found)
