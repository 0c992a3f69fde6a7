"""Find the traced graph that belongs to a model and a plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from prunus.errors import TraceError
from prunus.paint.graph import ChannelGraph
from prunus.plans.described import rebuild_inputs
from prunus.plans.plan import Plan, check_fingerprint

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def graph_for(model: nn.Module, plan: Plan) -> ChannelGraph:
    """The graph the plan was made on, or, for a plan read from JSON, a new trace with inputs of the same
    shapes.

    Raises PlanError if the plan was made for another model.
    """
    from prunus.paint.trace import trace_model

    if plan.graph is not None and plan.graph.is_of(model):
        return plan.graph
    check_fingerprint(plan, model)
    failure: TraceError | None = None
    for args, kwargs in in_types_of(model, rebuild_inputs(plan.inputs)):
        try:
            return trace_model(model, args, kwargs)
        except TraceError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def in_types_of(model: nn.Module, inputs: Arguments) -> Iterator[Arguments]:
    """Example inputs as they were, and then in the model's own type, which may have changed since."""
    from prunus.paint.inputs import map_tensors, tensors_in

    yield inputs
    own = next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), None)
    if own is not None and any(t.is_floating_point() and t.dtype != own for t in tensors_in(inputs)):
        yield map_tensors(inputs, lambda t: t.to(own) if t.is_floating_point() else t)
