"""prunus: make convolutional networks smaller and faster, and prove it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from prunus._foundation.moved import find_old_names, is_old_name

if TYPE_CHECKING:
    from prunus import (
        coding,
        compensation,
        data,
        deploy,
        dynamic,
        errors,
        hub,
        integrations,
        measure,
        methods,
        models,
        observe,
        paint,
        planning,
        plans,
        quantisation,
        report,
        runs,
        scores,
        segmentation,
        selection,
        storage,
        surgery,
        tasks,
        training,
    )
    from prunus.errors import PrunusError
    from prunus.hub import from_pretrained, push_to_hub
    from prunus.methods.shrinking import shrink
    from prunus.paint import ChannelGraph, Cost, paint_rule, trace
    from prunus.planning import plan
    from prunus.plans import Plan, Verification, mask, verify
    from prunus.quantisation.packing import pack
    from prunus.runs.packing import unpack
    from prunus.storage import load, save
    from prunus.surgery import Origin, compact, core, whole
    from prunus.tasks import Task

__version__ = "0.2.0"
__all__ = [
    "ChannelGraph",
    "Cost",
    "Origin",
    "Plan",
    "PrunusError",
    "Task",
    "Verification",
    "__version__",
    "coding",
    "compact",
    "compensation",
    "core",
    "data",
    "deploy",
    "dynamic",
    "errors",
    "from_pretrained",
    "hub",
    "integrations",
    "load",
    "mask",
    "measure",
    "methods",
    "models",
    "observe",
    "pack",
    "paint",
    "paint_rule",
    "plan",
    "planning",
    "plans",
    "push_to_hub",
    "quantisation",
    "report",
    "runs",
    "save",
    "scores",
    "segmentation",
    "selection",
    "shrink",
    "storage",
    "surgery",
    "tasks",
    "trace",
    "training",
    "unpack",
    "verify",
    "whole",
]

# Torch takes a second to import; `prunus --help` does not need it, so names and rooms are looked up when
# first used.
_HOMES = {
    **dict.fromkeys(("ChannelGraph", "Cost", "paint_rule", "trace"), "paint"),
    **dict.fromkeys(("Plan", "Verification", "mask", "verify"), "plans"),
    **dict.fromkeys(("Origin", "compact", "core", "whole"), "surgery"),
    "PrunusError": "errors",
    **dict.fromkeys(("from_pretrained", "push_to_hub"), "hub"),
    **dict.fromkeys(("load", "save"), "storage"),
    "plan": "planning",
    "pack": "quantisation.packing",
    "shrink": "methods.shrinking",
    "Task": "tasks",
    "unpack": "runs.packing",
}


find_old_names()


def __getattr__(name: str) -> Any:
    if is_old_name(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = (
        getattr(import_module(f".{_HOMES[name]}", __name__), name)
        if name in _HOMES
        else import_module(f".{name}", __name__)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
