"""A traced graph as plain data that Python can pickle, and back: the same nodes under the same names.

This is for a user's own processes: workers, copies, trackers. Files that come from elsewhere are read by
`prunus.load`, which trusts none of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.fx.node import map_aggregate
from torch.utils import _pytree as pytree

from prunus.paint.operator_names import with_operators, without_operators

Structure = tuple[
    Any, ...
]  # (type, context, structures of the children), () for a leaf; torch's own leaves warn when they are pickled


@dataclass(frozen=True)
class _Value:
    """Stands for a node among the arguments of another."""

    name: str


@dataclass(frozen=True)
class GraphState:
    """Every node as (kind, name, target, arguments, keywords), and the structure of inputs and outputs."""

    nodes: tuple[tuple[Any, ...], ...]
    arguments: tuple[str, ...]
    structures: tuple[Structure, Structure]


def state_of(graph: fx.Graph) -> GraphState:
    """A graph as data."""
    info = graph._codegen.pytree_info  # type: ignore[attr-defined]

    def stand_in(item: Any) -> Any:
        return _Value(item.name) if isinstance(item, fx.Node) else item

    def plain(value: Any) -> Any:
        return without_operators(map_aggregate(value, stand_in))

    nodes = [
        (node.op, node.name, without_operators(node.target), plain(node.args), plain(node.kwargs))
        for node in graph.nodes
    ]
    return GraphState(
        tuple(nodes), tuple(info.orig_args), (_described(info.in_spec), _described(info.out_spec))
    )


def graph_of(state: GraphState) -> fx.Graph:
    """The graph that `state_of` was given."""
    graph, made = fx.Graph(), dict[str, fx.Node]()

    def whole(value: Any) -> Any:
        return map_aggregate(
            with_operators(value), lambda item: made[item.name] if isinstance(item, _Value) else item
        )

    for kind, name, target, args, kwargs in state.nodes:
        made[name] = graph.create_node(kind, with_operators(target), whole(args), whole(kwargs), name=name)
    graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(list(state.arguments), *map(_rebuilt, state.structures))))
    return graph


def _described(spec: Any) -> Structure:
    return (
        ()
        if spec.is_leaf()
        else (spec.type, spec.context, tuple([_described(child) for child in _children(spec)]))
    )


def _rebuilt(structure: Structure) -> Any:
    if not structure:
        return pytree.tree_structure(0)
    kind, context, children = structure
    return pytree.TreeSpec(kind, context, [_rebuilt(child) for child in children])


def _children(spec: Any) -> list[Any]:
    children = getattr(spec, "children", None)  # a method in newer versions of torch
    return list(children() if callable(children) else spec.children_specs)


__all__ = ["GraphState", "graph_of", "state_of"]
