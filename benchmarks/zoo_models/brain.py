"""braindecode: networks for EEG."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from torch import nn

from benchmarks.zoo_models.entry import Entry, Inputs

CHANNELS, TIMES, RATE = 22, 1000, 250


def _make(network: str, settings: dict[str, Any]) -> nn.Module:
    usual: dict[str, Any] = {"n_chans": CHANNELS, "n_outputs": 4, "n_times": TIMES, "sfreq": RATE}
    model: nn.Module = getattr(import_module("braindecode.models"), network)(**usual | settings)
    return model


def _signal(channels: int, times: int) -> Any:
    import torch

    def make(batch: int, larger: bool) -> Inputs:
        return torch.randn(batch, channels, times + 250 * larger)

    return make


def _entry(network: str, **settings: Any) -> Entry:
    inputs = _signal(settings.get("n_chans", CHANNELS), settings.get("n_times", TIMES))
    return Entry(f"braindecode/{network}", partial(_make, network, settings), inputs)


_SLEEP: dict[str, Any] = {"n_chans": 2, "n_times": 3000, "sfreq": 100, "n_outputs": 5}
_USUAL = (
    "EEGNet EEGNeX ShallowFBCSPNet Deep4Net EEGInceptionERP EEGInceptionMI ATCNet BDTCN EEGConformer "
    "EEGTCNet EEGITNet EEGSimpleConv HybridNet TIDNet FBCNet FBMSNet FBLightConvNet IFNet MSVTNet SCCNet "
    "SPARCNet SyncNet TSception ContraWR CTNet AttentionBaseNet SincShallowNet SSTDPN"
).split()

ENTRIES: tuple[Entry, ...] = (
    *[_entry(name) for name in _USUAL],
    _entry("SleepStagerBlanco2020", **_SLEEP),
    _entry("SleepStagerChambon2018", **_SLEEP),
    _entry("AttnSleep", **_SLEEP | {"n_chans": 1}),
    _entry("DeepSleepNet", **_SLEEP | {"n_chans": 1}),
    _entry("USleep", **_SLEEP | {"sfreq": 128}),
)
