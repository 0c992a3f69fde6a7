"""prunus: make convolutional networks smaller and faster, and prove it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        channels,
        compensation,
        data,
        deploy,
        dynamic,
        errors,
        methods,
        models,
        report,
        scores,
        segmentation,
        selection,
        storage,
        tasks,
        training,
    )
    from .channels import ChannelGraph, Cost, Origin, Plan, Verification, compact, core, mask, paint_rule, trace, verify, whole
    from .errors import PrunusError
    from .methods.shrinking import shrink
    from .storage import load, save
    from .targets import plan
    from .tasks import Task

__version__ = "0.1.0"
__all__ = [
    "ChannelGraph",
    "Cost",
    "Origin",
    "Plan",
    "PrunusError",
    "Task",
    "Verification",
    "__version__",
    "channels",
    "compact",
    "compensation",
    "core",
    "data",
    "deploy",
    "dynamic",
    "errors",
    "load",
    "mask",
    "methods",
    "models",
    "paint_rule",
    "plan",
    "report",
    "save",
    "scores",
    "segmentation",
    "selection",
    "shrink",
    "storage",
    "tasks",
    "trace",
    "training",
    "verify",
    "whole",
]

# Torch takes a second to import; `prunus --help` does not need it, so names and rooms are looked up when first used.
_HOMES = {
    **dict.fromkeys(
        ("ChannelGraph", "Cost", "Origin", "Plan", "Verification", "compact", "core", "mask", "paint_rule", "trace", "verify", "whole"), "channels"
    ),
    "PrunusError": "errors",
    **dict.fromkeys(("load", "save"), "storage"),
    "plan": "targets",
    "shrink": "methods.shrinking",
    "Task": "tasks",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name) if name in _HOMES else import_module(f".{name}", __name__)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
