"""segmentation-models-pytorch: every decoder, and many encoders."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from benchmarks.zoo_models.entry import Entry, image

_PAIRS = """
Unet: resnet18 resnext50_32x4d mobilenet_v2 efficientnet-b0 timm-efficientnet-b0 tu-mobilenetv3_small_100
Unet: tu-regnetx_002 tu-convnext_atto
Unet: tu-res2net50_26w_4s tu-hrnet_w18_small timm-skresnet18 vgg11_bn densenet121 mit_b0 xception mobileone_s0
Unet: dpn68 se_resnet50 senet154
Unet: inceptionresnetv2 inceptionv4
UnetPlusPlus: resnet18 mobilenet_v2 densenet121
MAnet: resnet18 efficientnet-b0 mobilenet_v2
Linknet: resnet18 mobilenet_v2 vgg11_bn
FPN: resnet18 efficientnet-b0 mobileone_s0 resnext50_32x4d vgg11_bn
PSPNet: resnet18 mobilenet_v2 efficientnet-b0
PAN: resnet18 mobilenet_v2
DeepLabV3: resnet18 mobilenet_v2
DeepLabV3Plus: resnet18 mobilenet_v2 efficientnet-b0 se_resnet50 tu-regnetx_002
UPerNet: resnet18 mit_b0 mobilenet_v2
Segformer: resnet18 mit_b0 mobilenet_v2
"""


def _make(decoder: str, encoder: str) -> nn.Module:
    import segmentation_models_pytorch as smp

    model: Any = getattr(smp, decoder)(encoder, encoder_weights=None, classes=3)
    return model


def _entries() -> tuple[Entry, ...]:
    pairs = [
        (line.split(":")[0], encoder)
        for line in _PAIRS.strip().splitlines()
        for encoder in line.split(":")[1].split()
    ]
    return tuple(
        [
            Entry(
                f"segmentation_models_pytorch/{d}-{e}",
                partial(_make, d, e),
                image(128 if d == "PAN" else 64, step=32),
            )
            for d, e in pairs
        ]
    )


ENTRIES = _entries()
