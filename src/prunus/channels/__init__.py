"""Channels: trace a model, plan what to remove, mask it, compact it, verify it."""

from .compact import Origin, compact
from .cost import Cost, LayerCost
from .graph import Axis, ChannelGraph, Group, Note, Pinned
from .mask import mask
from .parts import core, whole
from .plan import Plan, PlanGroup, Timing, Trial
from .rules.register import paint_rule
from .trace import trace
from .verify import Verification, verify

__all__ = [
    "Axis",
    "ChannelGraph",
    "Cost",
    "Group",
    "LayerCost",
    "Note",
    "Origin",
    "Pinned",
    "Plan",
    "PlanGroup",
    "Timing",
    "Trial",
    "Verification",
    "compact",
    "core",
    "mask",
    "paint_rule",
    "trace",
    "verify",
    "whole",
]
