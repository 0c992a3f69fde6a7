"""prunus: make convolutional networks smaller and faster, and prove it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import scores
    from .channels import ChannelGraph, Cost, Origin, Plan, Verification, compact, core, mask, paint_rule, trace, verify, whole
    from .errors import PrunusError
    from .storage import load, save
    from .targets import plan

__version__ = "0.1.0"
__all__ = [
    "ChannelGraph",
    "Cost",
    "Origin",
    "Plan",
    "PrunusError",
    "Verification",
    "compact",
    "core",
    "load",
    "mask",
    "paint_rule",
    "plan",
    "save",
    "scores",
    "trace",
    "verify",
    "whole",
]

# Torch takes a second to import; `prunus --help` does not need it, so names are looked up when first used.
_HOMES = {
    **dict.fromkeys(
        ("ChannelGraph", "Cost", "Origin", "Plan", "Verification", "compact", "core", "mask", "paint_rule", "trace", "verify", "whole"), "channels"
    ),
    "PrunusError": "errors",
    **dict.fromkeys(("load", "save"), "storage"),
    "plan": "targets",
}


def __getattr__(name: str) -> Any:
    if name == "scores":
        return import_module(".scores", __name__)
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
