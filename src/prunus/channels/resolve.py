"""Find the traced graph that belongs to a model and a plan."""

from __future__ import annotations

from torch import nn

from .graph import ChannelGraph
from .plan import Plan, check_fingerprint, rebuild_inputs


def graph_for(model: nn.Module, plan: Plan) -> ChannelGraph:
    """The graph the plan was made on, or, for a plan read from JSON, a new trace with inputs of the same shapes.

    Raises PlanError if the plan was made for another model.
    """
    from .trace import trace_model

    if plan.graph is not None and plan.graph.is_of(model):
        return plan.graph
    check_fingerprint(plan, model)
    args, kwargs = rebuild_inputs(plan.inputs)
    return trace_model(model, args, kwargs)
