"""torchvision (video, segmentation, optical flow, detectors' cores), effdet, pytorchcv, pretrainedmodels,
timm's features.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from benchmarks.zoo_models.entry import Entry, Inputs, image


def _torchvision(place: str, name: str, settings: dict[str, Any]) -> nn.Module:
    model: nn.Module = getattr(import_module(f"torchvision.models.{place}"), name)(weights=None, **settings)
    return model


def _tv(place: str, name: str, inputs: Any, fixed: bool = False, **settings: Any) -> Entry:
    return Entry(f"torchvision/{place}-{name}", partial(_torchvision, place, name, settings), inputs, fixed)


def _clip(size: int, frames: int = 8) -> Any:
    return lambda batch, larger: torch.randn(batch, 3, frames + 4 * larger, size, size)


def _pair(batch: int, larger: bool) -> Inputs:
    return torch.randn(batch, 3, 128 + 32 * larger, 128), torch.randn(batch, 3, 128 + 32 * larger, 128)


def _effdet(name: str) -> nn.Module:
    effdet = import_module("effdet")
    model: nn.Module = effdet.create_model(
        name, bench_task="", pretrained=False, pretrained_backbone=False, image_size=(128, 128)
    )
    return model


def _cv(name: str, settings: dict[str, Any]) -> nn.Module:
    model: nn.Module = import_module("pytorchcv.model_provider").get_model(name, pretrained=False, **settings)
    return model


def _cadene(name: str) -> nn.Module:
    provider: Any = import_module("pretrainedmodels")
    model: nn.Module = provider.__dict__[name](num_classes=1000, pretrained=None)
    return model


def _yolo(name: str) -> nn.Module:
    model: nn.Module = import_module("ultralytics").YOLO(f"{name}.yaml").model
    return model


def _core(name: str, settings: dict[str, Any]) -> nn.Module:
    from benchmarks.detectors import core

    return core(_torchvision("detection", name, settings | {"weights_backbone": None}))


_CV_CLASSIFIERS = (
    "bam_resnet18 cbam_resnet18 channelnet condensenet74_c4_g4 diaresnet20_cifar10 diracnet18v2 fishnet99 "
    "ibn_resnet50 igcv3_wd4 menet108_8x1_g3 msdnet22 octresnet10_ad2 peleenet preresnet18 "
    "pyramidnet110_a48_cifar10 resnesta18 scnet50 seresnet10 shufflenet_g3_wd4 shufflenetv2_wd2 sknet50 "
    "sparsenet121 squeezenet_v1_1 squeezeresnet_v1_1 vovnet27s xdensenet121_2 zfnet airnet50_1x64d_r2 "
    "mnasnet_small darknet53 proxylessnas_cpu ror3_56_cifar10 rir_cifar10 wrn16_10_cifar10 "
    "shakeshakeresnet20_2x16d_cifar10 hardnet39ds bninception efficientnet_b0 ghostnet regnetx002 dla34 "
    "resnet10 resnext26_32x4d sepreresnet10 densenet40_k12_cifar10 drnc26 mobilenet_wd4 mobilenetv2_wd4 "
    "mobilenetv3_small_w7d20 fdmobilenet_wd4 fbnet_cb mixnet_s spnasnet selecsls42b hrnet_w18_small_v1 "
    "inceptionv3 nin_cifar10 efficientnet_edge_small_b resattnet56 sqnxt23_w1 tresnet_m vgg11 dicenet_wd5 "
    "bagnet9 alexnet pyramidnet110_a84_cifar10 seresnet20_cifar10 preresnet20_cifar10 mobilenetb_wd4 "
    "resnetd50b"
).split()
_CV_SEGMENTERS = (
    "erfnet_cityscapes fastscnn_cityscapes lednet_cityscapes bisenet_resnet18_celebamaskhq cgnet_cityscapes "
    "dabnet_cityscapes esnet_cityscapes fpenet_cityscapes icnet_resnetd50b_cityscapes linknet_cityscapes "
    "segnet_cityscapes sinet_cityscapes unet_cityscapes"
).split()

ENTRIES: tuple[Entry, ...] = (
    _tv("video", "r3d_18", _clip(64)),
    _tv("video", "mc3_18", _clip(64)),
    _tv("video", "r2plus1d_18", _clip(64)),
    _tv("video", "s3d", _clip(224, 16), fixed=True),
    _tv("video", "mvit_v1_b", _clip(224, 16), fixed=True),
    _tv("video", "swin3d_t", _clip(64)),
    _tv("segmentation", "fcn_resnet50", image(64), weights_backbone=None),
    _tv("segmentation", "deeplabv3_mobilenet_v3_large", image(64), weights_backbone=None, aux_loss=True),
    _tv("segmentation", "lraspp_mobilenet_v3_large", image(64), weights_backbone=None),
    Entry(
        "torchvision/optical_flow-raft_small", partial(_torchvision, "optical_flow", "raft_small", {}), _pair
    ),
    Entry(
        "torchvision/optical_flow-raft_large", partial(_torchvision, "optical_flow", "raft_large", {}), _pair
    ),
    *[
        Entry(f"torchvision/detection-{name}", partial(_core, name, {}), image(320 if "ssd" in name else 128))
        for name in (
            "fasterrcnn_mobilenet_v3_large_320_fpn fasterrcnn_resnet50_fpn fasterrcnn_resnet50_fpn_v2 "
            "retinanet_resnet50_fpn retinanet_resnet50_fpn_v2 ssd300_vgg16 ssdlite320_mobilenet_v3_large "
            "fcos_resnet50_fpn maskrcnn_resnet50_fpn keypointrcnn_resnet50_fpn"
        ).split()
    ],
    Entry("effdet/tf_efficientdet_lite0", partial(_effdet, "tf_efficientdet_lite0"), image(128), True),
    Entry("effdet/efficientdet_d0", partial(_effdet, "efficientdet_d0"), image(128), True),
    Entry("effdet/cspresdet50", partial(_effdet, "cspresdet50"), image(128), True),
    *[
        Entry(
            f"pytorchcv/{name}",
            partial(_cv, name, {}),
            image(32 if "cifar" in name else 299 if name == "inceptionv3" else 224),
            True,
        )
        for name in _CV_CLASSIFIERS
    ],
    *[
        Entry(f"pytorchcv/{name}", partial(_cv, name, {"in_size": (128, 128)}), image(128), True)
        for name in _CV_SEGMENTERS
    ],
    *[
        Entry(f"pretrainedmodels/{name}", partial(_cadene, name), image(size))
        for name, size in {
            "fbresnet152": 224,
            "nasnetamobile": 224,
            "xception": 128,
            "dpn68": 224,
            "bninception": 224,
            "inceptionresnetv2": 299,
        }.items()
    ],
    *[
        Entry(f"ultralytics/{name}", partial(_yolo, name), image(64, step=32))
        for name in (
            "yolov8n yolov5n yolov9t yolov10n yolo11n yolo12n yolov8n-seg yolov8n-pose yolov8n-obb "
            "yolov8n-cls yolov3-tiny"
        ).split()
    ],
)
