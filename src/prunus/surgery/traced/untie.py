"""Untie an exported graph from the example that it was exported with: from its batch, its type and its
device.

torch.export writes these down as numbers and names wherever a forward says `int(x.shape[0])`, `x.to(w.dtype)`
or `device=x.device`. Here they become values of the graph again: sizes are read off an input, types and
devices off a parameter.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import fx

SIZE_OF = torch.ops.aten.sym_size.int
TYPE_OF, DEVICE_OF = torch.ops.prim.dtype.default, torch.ops.prim.device.default


def untie_batch(graph: fx.Graph, batch: int, first: fx.Node) -> None:
    """Let multiples of `batch`, a number that nothing else is a multiple of, follow the first axis of an
    input.
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    made: dict[int, fx.Node] = {}

    def follow(value: Any) -> Any:
        if type(value) is not int or value <= 0 or value % batch:
            return value
        if not made:
            with graph.inserting_after(inputs[-1]):
                made[1] = graph.call_function(SIZE_OF, (first, 0))
        times = value // batch
        if times not in made:
            with graph.inserting_after(made[1]):
                made[times] = graph.call_function(operator.mul, (made[1], times))
        return made[times]

    for node in [node for node in graph.nodes if node.op == "call_function"]:
        node.args, node.kwargs = _changed(node.args, follow), _changed(node.kwargs, follow)


def untie_device(graph: fx.Graph, anchor: str) -> None:
    """Let every device follow that of a parameter or buffer."""
    _untie(graph, anchor, DEVICE_OF, lambda value: isinstance(value, torch.device), lambda place: True)


def untie_types(graph: fx.Graph, anchor: str, tied: Sequence[bool]) -> None:
    """Let types follow that of a parameter or buffer, where `tied` says so of the literals in order, as
    `types_in` gives them.
    """
    _untie(graph, anchor, TYPE_OF, lambda value: isinstance(value, torch.dtype), tied.__getitem__)


def types_in(graph: fx.Graph) -> list[tuple[str, torch.dtype]]:
    """Every type that a node names, with its operator, in order."""
    return [
        (str(node.target), value)
        for node in graph.nodes
        for value in _leaves((node.args, node.kwargs))
        if isinstance(value, torch.dtype)
    ]


def _untie(
    graph: fx.Graph, anchor: str, reader: Any, is_it: Callable[[Any], bool], tied: Callable[[int], bool]
) -> None:
    """Replace literals of one kind by what an operator reads off the anchor."""
    made: list[fx.Node] = []
    count = 0

    def follow(value: Any) -> Any:
        nonlocal count
        if not is_it(value):
            return value
        count += 1
        if not tied(count - 1):
            return value
        if not made:
            last = [node for node in graph.nodes if node.op == "placeholder"][-1:]
            with graph.inserting_after(last[0]) if last else graph.inserting_before(next(iter(graph.nodes))):
                source = graph.get_attr(anchor)
            with graph.inserting_after(source):
                made.append(graph.call_function(reader, (source,)))
        return made[0]

    for node in list(graph.nodes):
        node.args, node.kwargs = _changed(node.args, follow), _changed(node.kwargs, follow)


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same nest of containers with other leaves; in the order of `_leaves`."""
    if isinstance(value, dict):
        return {name: _changed(item, change) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)([_changed(item, change) for item in value])
    return change(value)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


__all__ = ["DEVICE_OF", "SIZE_OF", "TYPE_OF", "types_in", "untie_batch", "untie_device", "untie_types"]
