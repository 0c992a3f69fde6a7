"""Statistics of a traced graph that keep their width: nodes are replaced by what the formulas write in their
place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.fx.proxy import GraphAppendingTracer

from prunus.paint.width_formulas import FORMULAS, Held
from prunus.surgery.traced.literals import operator_name

_NAMES = tuple(
    (
        "layer_norm group_norm batch_norm rms_norm mean var std var_mean std_mean softmax amax amin max min"
    ).split()
)
_FORMULAS = {name: FORMULAS[getattr(torch, name)] for name in _NAMES}


class _Operand(fx.Proxy):
    """A node that knows the shape of its tensor: lengths that may change are nodes themselves."""

    def __init__(self, node: fx.Node, tracer: Any, known: tuple[tuple[int | None, ...], torch.dtype]) -> None:
        super().__init__(node, tracer)
        self.lengths, self.dtype = known

    def dim(self) -> int:
        """The number of axes."""
        return len(self.lengths)

    @property
    def shape(self) -> list[Any]:
        """Lengths, as numbers where they are known."""
        size = torch.ops.aten.sym_size.int
        return [
            length if length is not None else size(self, axis) for axis, length in enumerate(self.lengths)
        ]


def keep_width(
    graph: fx.Graph,
    node: fx.Node,
    ratio: float,
    known: Mapping[fx.Node, tuple[tuple[int | None, ...], torch.dtype]],
    held: tuple[fx.Node, int] | None = None,
) -> fx.Node | None:
    """Replace a statistic by its formula, and give that; None where there is none for it.

    Args:
        graph: the graph.
        node: the statistic.
        ratio: what of its slots is left.
        known: lengths and types of the tensors of nodes, None along axes of which nothing is known.
        held: a mean that was subtracted from all slots before, and the power of what the statistic goes over.
    """
    formula = _FORMULAS.get(operator_name(node))
    if formula is None:
        return None
    tracer = GraphAppendingTracer(graph)
    with graph.inserting_before(node):
        operands: Any = lambda n: _Operand(n, tracer, known[n]) if n in known else fx.Proxy(n, tracer)  # noqa: E731 (torch types what nodes become too narrowly)
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), operands)
        more = {} if held is None else {"held": Held(operands(held[0]), held[1])}
        result = formula(ratio, *args, **kwargs, **more)
    first: fx.Node = (result[0] if isinstance(result, tuple) else result).node
    if isinstance(result, tuple):
        for user in list(node.users):
            place: Any = user.args[1]
            user.replace_all_uses_with(result[place].node)
            graph.erase_node(user)
    else:
        node.replace_all_uses_with(result.node)
    graph.erase_node(node)
    return first
