"""Channels: trace a model, plan what to remove, mask it, compact it, verify it."""

from .graph import ChannelGraph, Group
from .trace import trace

__all__ = ["ChannelGraph", "Group", "trace"]
