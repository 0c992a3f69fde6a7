"""Two plans, one after the other, as one plan of the first model."""

from __future__ import annotations

from torch import nn

from ..errors import PlanError
from .compact import Origin, compact
from .plan import Plan, make_plan
from .resolve import graph_for
from .surgery import slices_of
from .traced import TracedModule


def compose(model: nn.Module, first: Plan, second: Plan) -> Plan:
    """The plan that removes from the model what `first` does and what `second` does from the compact model of `first`.

    Raises PlanError if `first` is for another model, or `second` cannot be of what it leaves.
    """
    graph = graph_for(model, first)
    removed = first.removed_in(graph).copy()
    slices, axes = slices_of(graph, removed), {(axis.name, axis.dim): axis.channels for axis in graph.axes}
    for group in second.groups:
        channels = axes.get((group.parameter, group.dim))
        if channels is None:
            raise PlanError(f"The second plan removes slots of {group.parameter}, which {type(model).__name__} does not have.")
        kept = slices.get(group.parameter, {}).get(group.dim)
        left = channels if kept is None else channels[kept]
        if group.removed and (max(group.removed) >= len(left) or (left[list(group.removed)] < 0).any()):
            raise PlanError(f"The second plan removes slots of {group.parameter} that the first one does not leave; it is for another model.")
        removed[left[list(group.removed)]] = True
    return make_plan(graph, removed)


def cut_at_once(small: nn.Module, model: nn.Module, plan: Plan) -> None:
    """Let a model that was cut in several steps know itself as cut from the first one by the plan of all steps, so that its file is restored into
    what builds the first model. A traced one, whose file stands alone, is left as it is."""
    once: Origin = compact(model, plan).prunus  # type: ignore[assignment]
    if once.mode == "eager" and not isinstance(small, TracedModule):
        object.__setattr__(small, "prunus", once)
