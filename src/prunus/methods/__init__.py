"""Methods: one file per published method, reading like the paper; how scores, targets and training are strung together."""

from __future__ import annotations

from prunus._lazy import files_of

__all__ = [
    "adversarial",
    "autoprune",
    "channels_and_layers",
    "fewer_blocks",
    "gating",
    "history",
    "importance",
    "one_shot",
    "play_and_prune",
    "selective_decay",
    "slimming",
    "soft",
    "thresholds",
    "twofold",
]

__getattr__ = files_of(__name__, __all__)
