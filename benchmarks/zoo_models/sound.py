"""torchaudio and other networks for sounds."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from benchmarks.zoo_models.entry import Entry


def _make(network: str, settings: dict[str, Any]) -> nn.Module:
    model: nn.Module = getattr(import_module("torchaudio.models"), network)(**settings)
    return model


def _wave(length: int, channels: int) -> Any:
    return lambda batch, larger: torch.randn(batch, channels, length + 800 * larger)


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "torchaudio/ConvTasNet",
        partial(
            _make,
            "ConvTasNet",
            {
                "enc_num_feats": 64,
                "msk_num_feats": 32,
                "msk_num_hidden_feats": 64,
                "msk_num_layers": 4,
                "msk_num_stacks": 2,
            },
        ),
        _wave(2000, 1),
    ),
    Entry(
        "torchaudio/Wav2Letter",
        partial(_make, "Wav2Letter", {"num_classes": 20, "input_type": "waveform"}),
        _wave(8000, 1),
    ),
    Entry(
        "torchaudio/HDemucs",
        partial(_make, "HDemucs", {"sources": ["a", "b"], "channels": 16, "nfft": 1024, "depth": 4}),
        _wave(16000, 2),
    ),
    Entry(
        "torchaudio/Conformer",
        partial(
            _make,
            "Conformer",
            {
                "input_dim": 32,
                "num_heads": 4,
                "ffn_dim": 64,
                "num_layers": 2,
                "depthwise_conv_kernel_size": 7,
            },
        ),
        lambda batch, larger: (
            torch.randn(batch, 20 + 10 * larger, 32),
            torch.full((batch,), 20 + 10 * larger),
        ),
    ),
    Entry(
        "torchaudio/DeepSpeech",
        partial(_make, "DeepSpeech", {"n_feature": 40, "n_hidden": 64}),
        lambda batch, larger: torch.randn(batch, 1, 20 + 10 * larger, 40),
    ),
    Entry(
        "torchaudio/WaveRNN",
        partial(
            _make,
            "WaveRNN",
            {
                "upsample_scales": [2, 2],
                "n_classes": 16,
                "hop_length": 4,
                "n_rnn": 32,
                "n_fc": 32,
                "n_freq": 20,
                "n_hidden": 16,
                "n_output": 16,
            },
        ),
        lambda batch, larger: (torch.randn(batch, 1, (20 - 5 + 1) * 4), torch.randn(batch, 1, 20, 20)),
    ),
)
