"""What keeps a network from becoming smaller: the pins that hold most of its work, in words."""

from __future__ import annotations

import math

from prunus.paint.graph import ChannelGraph, Pinned
from prunus.plans.plan import Plan

_MOST = 0.97  # of the MACs are left: nearly nothing went
_EXPECTED = frozenset({"model output"})  # of every network


def holding(graph: ChannelGraph, count: int = 3) -> str:
    """The pins that hold most multiply-accumulates, as a clause: reason, operator and line of each; "" if
    nothing is pinned but the outputs.
    """
    ranked = sorted(
        ((_work(graph, pin), pin) for pin in graph.pinned if pin.reason not in _EXPECTED),
        key=lambda pair: -pair[0],
    )
    held = [pair for pair in ranked if pair[0] > 0] or ranked
    return "; ".join(_said(pin, work, graph.cost().macs) for work, pin in held[:count])


def shortfall(graph: ChannelGraph, plan: Plan, rate: float, because: str = "") -> str:
    """A sentence where a plan removes nothing, or far less than a rate asks for; "" where it does not.
    `because` says what else stands against it.
    """
    wanted = sum(math.floor(rate * group.size + 1e-9) for group in graph.groups)
    much = (
        plan.removed >= wanted / 2
        and (graph.num_channels or rate == 0)
        and (rate < 0.3 or plan.after.macs <= _MOST * plan.before.macs)
    )
    if much or rate == 0 or (graph.num_channels and wanted < 1):
        return ""
    left = (
        f"{plan.after.macs / plan.before.macs:.0%} of the MACs are left"
        if plan.before.macs
        else "nothing is known of its MACs"
    )
    held = because if because and plan.removed < wanted / 2 else holding(graph)
    what = f"; {held if held == because else f'what holds most: {held}'}" if held else ""
    return (
        f"Only {plan.removed} channels of {type(graph.model).__name__} go at rate={rate:g}, and {left}{what}."
    )


def _work(graph: ChannelGraph, pin: Pinned) -> int:
    """Multiply-accumulates of the layers whose parameters a pin reaches."""
    modules = {name.partition(":")[0].rpartition(".")[0] for name in pin.names}
    return sum(layer.macs_before for layer in graph.layers() if layer.name in modules)


def _said(pin: Pinned, work: int, whole: int) -> str:
    share = f", {work / whole:.0%} of the MACs" if whole and work else ""
    place = ", ".join(part for part in (pin.operator, pin.where) if part)
    return f"{pin.reason} ({place}{share})" if place else f"{pin.reason}{share}"
