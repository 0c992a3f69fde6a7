"""monai: networks for volumes and pictures."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from torch import nn

from benchmarks.zoo_models.entry import Entry, image

VOLUME = image(32, channels=1, step=16, rank=3)
PICTURE = image(64, channels=1)


def _make(network: str, settings: dict[str, Any]) -> nn.Module:
    model: nn.Module = getattr(import_module("monai.networks.nets"), network)(**settings)
    return model


def _entry(
    network: str, inputs: Any = VOLUME, fixed: bool = False, label: str = "", **settings: Any
) -> Entry:
    return Entry(f"monai/{network}{label}", partial(_make, network, settings), inputs, fixed)


_UNET: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 3,
    "channels": (8, 16, 32, 64),
    "strides": (2, 2, 2),
}
_DYN: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 3,
    "kernel_size": [3] * 4,
    "strides": [1, 2, 2, 2],
    "upsample_kernel_size": [2] * 3,
    "filters": [8, 16, 32, 64],
}

ENTRIES: tuple[Entry, ...] = (
    _entry("UNet", spatial_dims=3, num_res_units=2, label="-3d-residual", **_UNET),
    _entry("UNet", PICTURE, spatial_dims=2, norm="batch", label="-2d", **_UNET),
    _entry("BasicUNet", spatial_dims=3, in_channels=1, out_channels=2, features=(8, 8, 16, 32, 64, 8)),
    _entry(
        "BasicUNetPlusPlus",
        PICTURE,
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
        features=(8, 8, 16, 32, 64, 8),
    ),
    _entry("SegResNet", spatial_dims=3, in_channels=1, out_channels=2, init_filters=8),
    _entry(
        "SegResNetDS",
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        init_filters=8,
        blocks_down=(1, 2, 2),
        dsdepth=2,
    ),
    _entry(
        "SegResNetVAE",
        fixed=True,
        input_image_size=[32, 32, 32],
        vae_nz=32,
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        init_filters=8,
    ),
    _entry("DynUNet", spatial_dims=3, label="-plain", **_DYN),
    _entry(
        "DynUNet",
        spatial_dims=3,
        deep_supervision=True,
        deep_supr_num=2,
        res_block=True,
        label="-deep-supervision",
        **_DYN,
    ),
    _entry("VNet", spatial_dims=3, in_channels=1, out_channels=2),
    _entry(
        "AttentionUnet", spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2)
    ),
    _entry(
        "UNETR",
        fixed=True,
        in_channels=1,
        out_channels=2,
        img_size=(32, 32, 32),
        feature_size=8,
        hidden_size=48,
        mlp_dim=96,
        num_heads=4,
        norm_name="batch",
    ),
    _entry(
        "SwinUNETR",
        image(64, channels=1, rank=3),
        in_channels=1,
        out_channels=2,
        feature_size=12,
        window_size=4,
        depths=(1, 1, 1, 1),
        num_heads=(2, 2, 4, 4),
    ),
    _entry("DenseNet121", spatial_dims=3, in_channels=1, out_channels=2),
    _entry(
        "ResNet",
        spatial_dims=3,
        n_input_channels=1,
        num_classes=2,
        block="basic",
        layers=[1, 1, 1, 1],
        block_inplanes=[64, 128, 256, 512],
        label="-3d",
    ),
    _entry(
        "ResNet",
        spatial_dims=3,
        n_input_channels=1,
        num_classes=2,
        block="bottleneck",
        layers=[1, 1, 1, 1],
        block_inplanes=[64, 128, 256, 512],
        shortcut_type="A",
        label="-3d-padded-shortcut",
    ),
    _entry("SEResNet50", PICTURE, spatial_dims=2, in_channels=1, num_classes=2, layers=(1, 1, 1, 1)),
    _entry(
        "EfficientNetBN",
        model_name="efficientnet-b0",
        spatial_dims=3,
        in_channels=1,
        num_classes=2,
        pretrained=False,
    ),
    _entry("HighResNet", spatial_dims=3, in_channels=1, out_channels=2, dropout_prob=0.0),
    _entry(
        "FlexibleUNet", PICTURE, in_channels=1, out_channels=2, backbone="efficientnet-b0", spatial_dims=2
    ),
    _entry(
        "FlexibleUNet",
        PICTURE,
        in_channels=1,
        out_channels=2,
        backbone="resnet18",
        spatial_dims=2,
        label="-resnet18",
    ),
    _entry(
        "Regressor",
        fixed=True,
        in_shape=(1, 32, 32, 32),
        out_shape=(2,),
        channels=(8, 16, 32),
        strides=(2, 2, 2),
    ),
    _entry(
        "Classifier",
        PICTURE,
        fixed=True,
        in_shape=(1, 64, 64),
        classes=3,
        channels=(8, 16, 32),
        strides=(2, 2, 2),
    ),
    _entry(
        "AutoEncoder",
        PICTURE,
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(8, 16, 32),
        strides=(2, 2, 2),
        inter_channels=(32, 32),
        num_inter_units=2,
    ),
    _entry(
        "VarAutoEncoder",
        PICTURE,
        fixed=True,
        spatial_dims=2,
        in_shape=(1, 64, 64),
        out_channels=1,
        latent_size=8,
        channels=(8, 16, 32),
        strides=(2, 2, 2),
    ),
    _entry("RegUNet", spatial_dims=3, in_channels=1, num_channel_initial=8, depth=2, out_channels=3),
    _entry(
        "LocalNet",
        spatial_dims=3,
        in_channels=1,
        num_channel_initial=8,
        extract_levels=(0, 1, 2),
        out_channels=3,
    ),
    _entry(
        "AHNet", image(64, channels=1, rank=3), spatial_dims=3, in_channels=1, out_channels=2, psp_block_num=0
    ),
    _entry("MedNeXtS", spatial_dims=3, in_channels=1, out_channels=2),
    _entry("Quicknat", PICTURE, num_classes=3, num_channels=1, num_filters=16, se_block="CSE"),
    _entry(
        "AutoencoderKL",
        PICTURE,
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(16, 32, 32),
        latent_channels=3,
        num_res_blocks=(1, 1, 1),
        norm_num_groups=8,
        attention_levels=(False, False, True),
    ),
    _entry(
        "VQVAE",
        PICTURE,
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=(16, 32),
        num_res_channels=(16, 32),
        num_res_layers=1,
        num_embeddings=16,
        embedding_dim=8,
        downsample_parameters=((2, 4, 1, 1), (2, 4, 1, 1)),
        upsample_parameters=((2, 4, 1, 1, 0), (2, 4, 1, 1, 0)),
    ),
    _entry("PatchDiscriminator", PICTURE, spatial_dims=2, channels=16, in_channels=1, num_layers_d=3),
    _entry("HoVerNet", image(256), fixed=True, mode="fast", out_classes=3),
    _entry(
        "VoxelMorphUNet",
        image(32, channels=2, step=16, rank=3),
        spatial_dims=3,
        in_channels=2,
        unet_out_channels=8,
        channels=(8, 16, 16, 16, 16, 16),
        final_conv_channels=(8, 8),
    ),
)
