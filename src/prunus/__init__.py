"""prunus: make convolutional networks smaller and faster, and prove it."""

from __future__ import annotations

from . import scores
from .channels import ChannelGraph, Cost, Origin, Plan, Verification, compact, mask, trace, verify
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
    "load",
    "mask",
    "plan",
    "save",
    "scores",
    "trace",
    "verify",
]
