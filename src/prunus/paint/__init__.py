"""Paint: run a model once on meta tensors, and read off which of its channels belong together."""

from prunus.paint.cost import Cost, LayerCost
from prunus.paint.graph import Axis, ChannelGraph, Group, Note, Pinned
from prunus.paint.rules.register import paint_rule
from prunus.paint.trace import trace

__all__ = ["Axis", "ChannelGraph", "Cost", "Group", "LayerCost", "Note", "Pinned", "paint_rule", "trace"]
