"""transformers: networks with convolutions, small by their configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from benchmarks.zoo_models.entry import Entry, Inputs, image, keyword

Maker = Callable[[int, bool], Inputs]
PIXELS = keyword("pixel_values", image(64))
_HF = "transformers"


def _make(network: str, config: str, **settings: Any) -> nn.Module:
    package: Any = import_module(_HF)
    ready = {name: value() if isinstance(value, Config) else value for name, value in settings.items()}
    model = getattr(package, network)(getattr(package, config)(**ready))
    model.config.return_dict = True
    return model


@dataclass(frozen=True)
class Config:
    """A configuration inside another, made when it is needed."""

    name: str
    settings: dict[str, Any]

    def __call__(self) -> Any:
        """The configuration itself."""
        return getattr(import_module(_HF), self.name)(
            **{name: value() if isinstance(value, Config) else value for name, value in self.settings.items()}
        )


def _config(name: str, **settings: Any) -> Config:
    return Config(name, settings)


def _entry(
    network: str, config: str, inputs: Maker = PIXELS, fixed: bool = False, label: str = "", **settings: Any
) -> Entry:
    return Entry(f"{_HF}/{network}{label}", partial(_make, network, config, **settings), inputs, fixed)


def _classifier(
    family: str,
    config: str = "",
    inputs: Maker = PIXELS,
    fixed: bool = False,
    label: str = "",
    **settings: Any,
) -> Entry:
    return _entry(
        f"{family}ForImageClassification", config or f"{family}Config", inputs, fixed, label, **settings
    )


_resnet = _config(
    "ResNetConfig",
    embedding_size=16,
    hidden_sizes=[32, 64, 96, 128],
    depths=[2, 2, 2, 2],
    out_features=["stage2", "stage3", "stage4"],
)
_resnet_last = _config(
    "ResNetConfig",
    embedding_size=16,
    hidden_sizes=[32, 64, 96, 128],
    depths=[2, 2, 2, 2],
    out_features=["stage4"],
)
_resnet_all = _config(
    "ResNetConfig",
    embedding_size=16,
    hidden_sizes=[32, 64, 96, 128],
    depths=[2, 2, 2, 2],
    out_features=["stage1", "stage2", "stage3", "stage4"],
)
_swin_all = _config(
    "SwinConfig",
    image_size=64,
    embed_dim=24,
    depths=[1, 1, 2, 1],
    num_heads=[2, 2, 4, 4],
    window_size=2,
    out_features=["stage1", "stage2", "stage3", "stage4"],
)
_convnext_all = _config(
    "ConvNextConfig",
    hidden_sizes=[24, 48, 64, 96],
    depths=[1, 1, 2, 1],
    out_features=["stage1", "stage2", "stage3", "stage4"],
)
_DETR: dict[str, Any] = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "d_model": 32,
    "num_queries": 10,
}
_DETR |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
_PLAIN: dict[str, Any] = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
_RT: dict[str, Any] = {
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [64, 96, 128],
    "d_model": 32,
    "decoder_in_channels": [32, 32, 32],
    "num_queries": 20,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_denoising": 0,
    "anchor_image_size": None,
}
_rt_resnet = _config(
    "RTDetrResNetConfig",
    embedding_size=16,
    hidden_sizes=[32, 64, 96, 128],
    depths=[1, 1, 1, 1],
    out_features=["stage2", "stage3", "stage4"],
)
_hgnet = _config(
    "HGNetV2Config",
    stem_channels=[3, 8, 16],
    stage_in_channels=[16, 32, 64, 96],
    stage_mid_channels=[8, 16, 24, 32],
    stage_out_channels=[32, 64, 96, 128],
    stage_num_blocks=[1, 1, 2, 1],
    stage_numb_of_layers=[3, 3, 3, 3],
    hidden_sizes=[32, 64, 96, 128],
    depths=[1, 1, 2, 1],
    embedding_size=16,
    out_features=["stage2", "stage3", "stage4"],
)


def _signal(length: int = 4000, name: str = "input_values", channels: int = 0) -> Maker:
    def make(batch: int, larger: bool) -> Inputs:
        shape = (batch, *([channels] if channels else []), length + 800 * larger)
        return {name: torch.randn(shape)}

    return make


def _speech(frames: int = 40, bins: int = 80, name: str = "input_features") -> Maker:
    return lambda batch, larger: {name: torch.randn(batch, bins, frames)}


_W2V: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (32,) * 4,
    "conv_stride": (5, 2, 2, 2),
    "conv_kernel": (10, 3, 3, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}
_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}

ENTRIES: tuple[Entry, ...] = (
    _classifier(
        "ResNet",
        embedding_size=16,
        hidden_sizes=[32, 64, 128, 256],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        label="-basic",
    ),
    _classifier(
        "ResNet",
        embedding_size=16,
        hidden_sizes=[64, 128, 256, 512],
        depths=[1, 1, 1, 1],
        label="-bottleneck",
    ),
    _classifier("ConvNext", hidden_sizes=[24, 48, 96, 192], depths=[1, 1, 2, 1]),
    _classifier("ConvNextV2", hidden_sizes=[24, 48, 96, 192], depths=[1, 1, 2, 1]),
    _classifier("MobileNetV1", depth_multiplier=0.5),
    _classifier("MobileNetV2"),
    _entry("MobileNetV2ForSemanticSegmentation", "MobileNetV2Config"),
    _classifier("MobileViT"),
    _entry("MobileViTForSemanticSegmentation", "MobileViTConfig"),
    _classifier("MobileViTV2"),
    _entry("MobileViTV2ForSemanticSegmentation", "MobileViTV2Config"),
    _classifier("EfficientNet", width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280),
    _classifier(
        "RegNet", embedding_size=16, hidden_sizes=[32, 64, 96, 128], depths=[1, 2, 2, 1], groups_width=16
    ),
    _classifier(
        "RegNet",
        embedding_size=16,
        hidden_sizes=[32, 64, 96, 128],
        depths=[1, 1, 1, 1],
        groups_width=16,
        layer_type="x",
        label="-x",
    ),
    _classifier("Swin", image_size=64, embed_dim=24, depths=[1, 1, 2], num_heads=[2, 4, 8], window_size=4),
    _classifier("Swinv2", image_size=64, embed_dim=24, depths=[1, 1, 2], num_heads=[2, 4, 8], window_size=4),
    _classifier("Segformer"),
    _entry("SegformerForSemanticSegmentation", "SegformerConfig"),
    _classifier(
        "Bit",
        embedding_size=16,
        hidden_sizes=[32, 64, 128, 256],
        depths=[1, 1, 1, 1],
        num_groups=8,
        label="-preactivation",
    ),
    _classifier(
        "Bit",
        embedding_size=16,
        hidden_sizes=[32, 64, 128, 256],
        depths=[1, 1, 1, 1],
        num_groups=8,
        layer_type="bottleneck",
        embedding_dynamic_padding=True,
        label="-bottleneck",
    ),
    _classifier(
        "Levit",
        hidden_sizes=[64, 96, 128],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[16, 16, 16],
        fixed=True,
        inputs=keyword("pixel_values", image(224)),
    ),
    _classifier("Pvt", image_size=64, fixed=True, hidden_sizes=[32, 64, 160, 256], depths=[1, 1, 1, 1]),
    _classifier("PvtV2", image_size=64, hidden_sizes=[32, 64, 160, 256], depths=[1, 1, 1, 1]),
    _classifier("PoolFormer", hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 1, 1]),
    _classifier("FocalNet", image_size=64, embed_dim=24, depths=[1, 1, 2, 1]),
    _classifier(
        "Cvt", embed_dim=[16, 48, 96], num_heads=[1, 3, 6], depth=[1, 2, 3], cls_token=[False, False, True]
    ),
    _classifier("SwiftFormer"),
    _classifier("HGNetV2"),
    _classifier("TextNet"),
    _classifier(
        "ViT",
        image_size=64,
        patch_size=16,
        fixed=True,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
    ),
    _classifier(
        "Beit",
        image_size=64,
        fixed=True,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
    ),
    _classifier("Hiera", image_size=[64, 64], embed_dim=24, depths=[1, 1, 2, 1], fixed=True),
    _classifier("PPLCNet"),
    _entry("DINOv3ConvNextModel", "DINOv3ConvNextConfig", hidden_sizes=[24, 48, 64, 96], depths=[1, 1, 2, 1]),
    _entry("DetrForObjectDetection", "DetrConfig", backbone_config=_resnet_last, **_PLAIN, **_DETR),
    _entry(
        "DetrForSegmentation",
        "DetrConfig",
        backbone_config=_resnet_all,
        **_PLAIN,
        **(_DETR | {"d_model": 128, "encoder_attention_heads": 8}),
    ),
    _entry(
        "ConditionalDetrForObjectDetection",
        "ConditionalDetrConfig",
        backbone_config=_resnet_last,
        **_PLAIN,
        **_DETR,
    ),
    _entry(
        "TableTransformerForObjectDetection",
        "TableTransformerConfig",
        backbone_config=_resnet_last,
        **_PLAIN,
        **_DETR,
    ),
    _entry(
        "DabDetrForObjectDetection",
        "DabDetrConfig",
        backbone_config=_resnet_last,
        use_timm_backbone=False,
        backbone=None,
        hidden_size=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=10,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
    ),
    _entry(
        "DeformableDetrForObjectDetection",
        "DeformableDetrConfig",
        inputs=keyword("pixel_values", image(128)),
        backbone_config=_resnet,
        num_feature_levels=4,
        **_PLAIN,
        **_DETR,
    ),
    _entry("RTDetrForObjectDetection", "RTDetrConfig", backbone_config=_rt_resnet, **_RT),
    _entry("RTDetrV2ForObjectDetection", "RTDetrV2Config", backbone_config=_rt_resnet, **_RT),
    _entry("DFineForObjectDetection", "DFineConfig", backbone_config=_hgnet, **_RT),
    _entry(
        "MaskFormerForInstanceSegmentation",
        "MaskFormerConfig",
        fpn_feature_size=32,
        mask_feature_size=32,
        backbone_config=_resnet_all,
        decoder_config=_config("DetrConfig", backbone_config=_resnet_last, **_PLAIN, **_DETR),
    ),
    _entry(
        "Mask2FormerForUniversalSegmentation",
        "Mask2FormerConfig",
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        encoder_layers=2,
        decoder_layers=3,
        num_attention_heads=4,
        dim_feedforward=64,
        num_queries=10,
        backbone_config=_swin_all,
    ),
    _entry(
        "GLPNForDepthEstimation",
        "GLPNConfig",
        hidden_sizes=[16, 32, 48, 64],
        num_attention_heads=[1, 2, 4, 4],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=32,
    ),
    _entry(
        "DPTForDepthEstimation",
        "DPTConfig",
        fixed=True,
        **(_VIT | {"num_hidden_layers": 4}),
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 32, 48, 64],
        fusion_hidden_size=32,
    ),
    _entry(
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        backbone_config=_convnext_all,
        hidden_size=48,
        auxiliary_in_channels=64,
        auxiliary_channels=32,
    ),
    _entry(
        "UperNetForSemanticSegmentation",
        "UperNetConfig",
        backbone_config=_swin_all,
        hidden_size=48,
        auxiliary_in_channels=96,
        auxiliary_channels=32,
        label="-swin",
        fixed=True,
    ),
    _entry(
        "DepthAnythingForDepthEstimation",
        "DepthAnythingConfig",
        inputs=keyword("pixel_values", image(56, step=14)),
        reassemble_hidden_size=32,
        neck_hidden_sizes=[16, 32, 48, 64],
        fusion_hidden_size=32,
        head_hidden_size=16,
        patch_size=14,
        backbone_config=_config(
            "Dinov2Config",
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=56,
            out_indices=[1, 2, 3, 4],
            reshape_hidden_states=False,
            apply_layernorm=True,
        ),
    ),
    _entry("SuperPointForKeypointDetection", "SuperPointConfig"),
    _entry(
        "VitMatteForImageMatting",
        "VitMatteConfig",
        inputs=keyword("pixel_values", image(64, channels=4)),
        hidden_size=32,
        convstream_hidden_sizes=[16, 24, 32],
        fusion_hidden_sizes=[64, 32, 16, 8],
        backbone_config=_config(
            "VitDetConfig",
            num_channels=4,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=64,
            residual_block_indices=[1],
            out_features=["stage2"],
        ),
    ),
    _entry(
        "Swin2SRForImageSuperResolution",
        "Swin2SRConfig",
        embed_dim=24,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
        image_size=32,
        inputs=keyword("pixel_values", image(32)),
    ),
    _entry(
        "TimmBackbone",
        "TimmBackboneConfig",
        backbone="resnet18",
        use_pretrained_backbone=False,
        out_indices=[1, 2, 3, 4],
    ),
    _entry("TimmWrapperForImageClassification", "TimmWrapperConfig", architecture="mobilenetv3_small_100"),
    _entry("Wav2Vec2Model", "Wav2Vec2Config", inputs=_signal(), **_W2V),
    _entry(
        "Wav2Vec2Model",
        "Wav2Vec2Config",
        inputs=_signal(),
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        label="-layer-norm",
        **_W2V,
    ),
    _entry("HubertModel", "HubertConfig", inputs=_signal(), **_W2V),
    _entry("WavLMModel", "WavLMConfig", inputs=_signal(), **_W2V),
    _entry("SEWModel", "SEWConfig", inputs=_signal(), squeeze_factor=2, **_W2V),
    _entry(
        "EncodecModel",
        "EncodecConfig",
        inputs=_signal(3200, channels=1),
        num_filters=8,
        hidden_size=32,
        codebook_size=64,
        codebook_dim=32,
        upsampling_ratios=[4, 2],
    ),
    _entry(
        "DacModel",
        "DacConfig",
        inputs=_signal(2048, channels=1),
        encoder_hidden_size=16,
        decoder_hidden_size=64,
        hidden_size=64,
        downsampling_ratios=[2, 4],
        upsampling_ratios=[4, 2],
    ),
    _entry(
        "UnivNetModel",
        "UnivNetConfig",
        inputs=lambda batch, larger: {
            "input_features": torch.randn(batch, 20 + 10 * larger, 100),
            "noise_sequence": torch.randn(batch, 20 + 10 * larger, 64),
        },
    ),
    _entry(
        "SpeechT5HifiGan",
        "SpeechT5HifiGanConfig",
        upsample_initial_channel=64,
        inputs=lambda batch, larger: {"spectrogram": torch.randn(batch, 20 + 10 * larger, 80)},
    ),
    _entry(
        "WhisperForAudioClassification",
        "WhisperConfig",
        inputs=_speech(),
        fixed=True,
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        encoder_ffn_dim=64,
        num_mel_bins=80,
        max_source_positions=20,
        classifier_proj_size=32,
    ),
    _entry("RfDetrForObjectDetection", "RfDetrConfig", num_queries=4),
    _entry("MobileViTModel", "MobileViTConfig", label="-features"),
    _entry(
        "ZoeDepthForDepthEstimation",
        "ZoeDepthConfig",
        fixed=True,
        neck_hidden_sizes=[16, 32, 48, 64],
        fusion_hidden_size=32,
        bottleneck_features=32,
        num_relative_features=16,
        backbone_config=_config(
            "BeitConfig",
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=64,
            patch_size=16,
            intermediate_size=64,
            out_indices=[1, 2, 3, 4],
            reshape_hidden_states=False,
            use_relative_position_bias=True,
        ),
    ),
)
