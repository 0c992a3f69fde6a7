"""The networks of the papers, networks by name, and plain weight files."""

from __future__ import annotations

from prunus.models.catalogue import build, names
from prunus.models.lenet import LeNet5, LeNet300, lenet5, lenet300
from prunus.models.resnet import (
    CifarResNet,
    ShortcutA,
    resnet8,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
)
from prunus.models.ternausnet import TernausNet, load_encoder, ternausnet
from prunus.models.unet import UNet, unet
from prunus.models.vgg import CifarVGG, vgg16_bn
from prunus.models.weights import load_weights

__all__ = [
    "CifarResNet",
    "CifarVGG",
    "LeNet5",
    "LeNet300",
    "ShortcutA",
    "TernausNet",
    "UNet",
    "build",
    "lenet5",
    "lenet300",
    "load_encoder",
    "load_weights",
    "names",
    "resnet8",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "ternausnet",
    "unet",
    "vgg16_bn",
]
