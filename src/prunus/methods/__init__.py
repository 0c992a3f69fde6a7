"""Methods: one file per published method, reading like the paper; how scores, targets and training are strung
together.

Each is `method(model, task, **settings) -> Outcome`, and `METHODS` has them all by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prunus._foundation.lazy import files_of, names_of

if TYPE_CHECKING:
    from prunus.methods.common import Journal, Outcome, Target
    from prunus.methods.registry import METHODS

_HOMES = {"METHODS": "registry", "Journal": "common", "Outcome": "common", "Target": "common"}
__all__ = [
    "METHODS",
    "Journal",
    "Outcome",
    "Target",
    "adversarial",
    "at_initialisation",
    "autoprune",
    "block_removal",
    "channels_and_layers",
    "common",
    "greedy",
    "history",
    "importance",
    "one_shot",
    "play_and_prune",
    "rate_range",
    "registry",
    "selective_decay",
    "sensitivity",
    "shrinking",
    "slimming",
    "soft",
    "thresholds",
    "train_gated",
    "twofold",
]

_names, _files = (
    names_of(__name__, _HOMES),
    files_of(__name__, [name for name in __all__ if name not in _HOMES]),
)


def __getattr__(name: str) -> Any:
    return _names(name) if name in _HOMES else _files(name)
