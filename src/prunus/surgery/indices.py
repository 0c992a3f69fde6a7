"""Indices that put channels into another order, or pick some of them: their values are slots, and follow what
is left.

An index that is a buffer keeps its name and gets other values; in a traced graph, one that the forward makes
becomes a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from prunus.paint.graph import ChannelGraph
from prunus.paint.records import Labels, Paint, Record, Stripe
from prunus.paint.source import UNPAINTED

OPERATORS = frozenset({"index", "index_select"})


@dataclass(frozen=True, eq=False)
class Remap:
    """The values of buffer `name` are slots of an axis that had `size` of them, of which `kept` stay."""

    name: str
    size: int
    kept: NDArray[np.int64]


def renumbered(values: Tensor, size: int, kept: NDArray[np.int64]) -> Tensor:
    """Where the named slots are among those that stay; negative ones count from the end."""
    slots = torch.where(values < 0, values + size, values)
    return torch.searchsorted(torch.from_numpy(kept).to(values.device), slots.contiguous()).to(values.dtype)


def remaps_of(graph: ChannelGraph, removed: NDArray[np.bool_]) -> tuple[Remap, ...]:
    """Every buffer that is used as an index of an axis that loses slots."""
    found: dict[str, Remap] = {}
    starts = {
        s.starts[0]: s
        for s in graph.sources
        if not s.is_parameter and s.tensor.dim() == 1 and s.starts[0] != UNPAINTED
    }
    for record in graph.records if removed.any() else ():
        for stripe, index in _picked(record):
            source = starts.get(int(index.labels.min()))
            kept = np.flatnonzero(graph.stays(stripe.labels, removed))
            if (
                source is not None
                and len(kept) < len(stripe.labels)
                and np.array_equal(np.sort(index.labels), source.colours(0))
            ):
                found[source.name] = Remap(source.name, len(stripe.labels), kept)
    return tuple(found.values())


def _picked(record: Record) -> Iterator[tuple[Stripe, Stripe]]:
    """The stripe that an operator picks slots of, and that of its index."""
    if record.operator not in OPERATORS:
        return
    axis, index = picking(record.operator, record.args, record.tensors[0].dim())
    if index is None:
        return
    place = next(place for place, tensor in enumerate(record.tensors) if tensor is index)
    of = [stripe for stripe in record.inputs[0] if stripe.axis == axis]
    by = record.inputs[place]
    if len(of) == len(by) == 1:
        yield of[0], by[0]


def picking(operator: str, args: Any, rank: int) -> tuple[int, Any]:
    """The one axis that index or index_select picks slots of, and its index; None where there are several."""
    if operator == "index_select":
        return int(args[1]) % max(rank, 1), args[2]
    used = [(axis, index) for axis, index in enumerate(args[1]) if index is not None]
    return used[0] if len(used) == 1 else (-1, None)


def follow(
    module: nn.Module,
    graph: ChannelGraph,
    removed: NDArray[np.bool_],
    nodes: fx.Graph,
    paints: Mapping[fx.Node, Paint],
    shapes: Mapping[fx.Node, int],
    values: Mapping[fx.Node, Tensor],
) -> None:
    """Put constants in the place of indices of a traced graph that name other slots once channels are gone.

    Args:
        module: gets the constants, as buffers that are not saved.
        graph: the painted traced graph.
        removed: its channels that go.
        nodes: what is changed.
        paints: of the first tensor of every node.
        shapes: the rank of that tensor.
        values: what is known of it.
    """
    for node in list(nodes.nodes):
        operator = node.target._schema.name.removeprefix("aten::") if hasattr(node.target, "_schema") else ""
        if operator not in OPERATORS or node.args[0] not in shapes:
            continue
        axis, index = picking(operator, node.args, shapes[node.args[0]])
        stripe = next((y for y in paints[node.args[0]] if y.axis == axis), None)
        if stripe is None or index not in values or values[index].dtype == torch.bool:
            continue
        kept = np.flatnonzero(graph.stays(stripe.labels, removed))
        if len(kept) == len(stripe.labels):
            continue
        constant = renumbered(_left(values[index], stripe.labels, graph, removed), len(stripe.labels), kept)
        _replace(module, nodes, node, index, constant)


def _left(values: Tensor, labels: Labels, graph: ChannelGraph, removed: NDArray[np.bool_]) -> Tensor:
    """The named slots that stay."""
    stays = torch.from_numpy(graph.stays(labels, removed))
    return values[stays[values]]


def _replace(module: nn.Module, nodes: fx.Graph, node: fx.Node, index: fx.Node, constant: Tensor) -> None:
    name = f"_slots_of_{node.name}"
    module.register_buffer(name, constant, persistent=False)
    with nodes.inserting_before(node):
        # get_attr() looks the name up in another module
        node.replace_input_with(index, nodes.create_node("get_attr", name))
    unread = [index]
    while unread:
        last = unread.pop()
        if not last.users and last.op != "placeholder":
            unread.extend(last.all_input_nodes)
            nodes.erase_node(last)
