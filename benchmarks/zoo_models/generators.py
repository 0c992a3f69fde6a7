"""diffusers: networks that make pictures and sounds."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from benchmarks.zoo_models.entry import Entry, Inputs, image


def _make(network: str, settings: dict[str, Any]) -> nn.Module:
    model: nn.Module = getattr(import_module("diffusers"), network)(**settings)
    return model


def _entry(network: str, inputs: Any, label: str = "", **settings: Any) -> Entry:
    return Entry(f"diffusers/{network}{label}", partial(_make, network, settings), inputs)


def _noisy(channels: int = 3, size: int = 32, words: int = 0) -> Any:
    def make(batch: int, larger: bool) -> Inputs:
        found: dict[str, Any] = {
            "sample": torch.randn(batch, channels, size + 16 * larger, size),
            "timestep": torch.full((batch,), 7),
        }
        return found | ({"encoder_hidden_states": torch.randn(batch, 5, words)} if words else {})

    return make


def _guided(batch: int, larger: bool) -> Inputs:
    side = 8 + 8 * larger
    return {
        "sample": torch.randn(batch, 4, side, 8),
        "timestep": torch.full((batch,), 7),
        "encoder_hidden_states": torch.randn(batch, 5, 16),
        "controlnet_cond": torch.randn(batch, 3, 8 * side, 64),
    }


_ATTENDING: dict[str, Any] = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
}
_CODER: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
    "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}

ENTRIES: tuple[Entry, ...] = (
    _entry(
        "UNet2DModel",
        _noisy(),
        sample_size=32,
        block_out_channels=(16, 32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    ),
    _entry(
        "UNet2DConditionModel",
        _noisy(4, words=16),
        sample_size=32,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **_ATTENDING,
    ),
    _entry("AutoencoderKL", image(32), **_CODER),
    _entry(
        "AutoencoderTiny",
        image(32),
        encoder_block_out_channels=(16, 16, 16),
        decoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    ),
    _entry("VQModel", image(32), **_CODER, num_vq_embeddings=16),
    _entry(
        "UNet1DModel",
        lambda batch, larger: {
            "sample": torch.randn(batch, 2, 64 + 32 * larger),
            "timestep": torch.full((batch,), 7),
        },
        in_channels=2,
        out_channels=2,
        block_out_channels=(16, 32, 32),
        extra_in_channels=32,
    ),
    _entry("ControlNetModel", _guided, conditioning_embedding_out_channels=(8, 8, 16, 16), **_ATTENDING),
    _entry(
        "UNet3DConditionModel",
        lambda batch, larger: {
            "sample": torch.randn(batch, 4, 4, 16 + 16 * larger, 16),
            "timestep": torch.full((batch,), 7),
            "encoder_hidden_states": torch.randn(batch, 5, 16),
        },
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    ),
    _entry(
        "AutoencoderDC",
        image(32),
        latent_channels=4,
        encoder_block_out_channels=(16, 32),
        decoder_block_out_channels=(16, 32),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        attention_head_dim=8,
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
    ),
    _entry(
        "T2IAdapter",
        image(64),
        channels=[16, 32, 32, 32],
        num_res_blocks=1,
        downscale_factor=8,
        adapter_type="full_adapter",
    ),
)
