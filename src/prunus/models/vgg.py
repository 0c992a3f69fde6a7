"""VGG-16 with batch norm for CIFAR."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import at_least, checked
from prunus.errors import ConfigError
from prunus.models.built import noted

# Simonyan and Zisserman 2015 (arXiv 1409.1556), configuration D: widths of the 13 convolutions, None = halve
# the side.
LAYOUT = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512, None)


class CifarVGG(nn.Module):
    """The 13 convolutions of VGG-16, each with batch norm and ReLU, and one linear layer 512 -> num_classes.

    The papers differ in the head. Ours is the one without hidden layers of Network Slimming (Liu et al.
    2017): 14.72 M parameters and 313.2 M MACs at 32x32. The convolutions have no bias, the batch norm after
    them has one, and there is no dropout.

    Args:
        num_classes: classes told apart.
        in_channels: planes of the input, 3 for colour.
    """

    @checked()
    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        at_least(1, num_classes=num_classes, in_channels=in_channels)
        super().__init__()
        layers: list[nn.Module] = []
        previous = in_channels
        for width in LAYOUT:
            if width is None:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(previous, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            previous = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(previous, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, in_channels, H, W), a side of at least 32 pixels, to logits (batch, num_classes)."""
        x = F.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(torch.flatten(x, 1))  # type: ignore[no-any-return]


@checked(ConfigError)
@noted
def vgg16_bn(num_classes: int = 10, in_channels: int = 3) -> CifarVGG:
    """VGG-16 with batch norm for CIFAR; see `CifarVGG`."""
    return CifarVGG(num_classes, in_channels)
