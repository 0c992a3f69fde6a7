"""What a forward is run with again once channels are gone, and whether it returns what it returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from prunus.paint.graph import ChannelGraph, Origin
from prunus.paint.inputs import Arguments, map_tensors
from prunus.paint.model_copy import named_tensors
from prunus.paint.nests import said_in
from prunus.surgery.slicing import Surgery, changed


def inputs_now(graph: ChannelGraph) -> Arguments:
    """The example inputs, in the type that the model has by now: it may have been made double or half since
    it was traced.
    """
    traced, now = (
        next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
        for model in (graph.twin.model, graph.model)
    )
    if now is None or traced == now:
        return graph.inputs
    inputs: Arguments = map_tensors(graph.inputs, lambda t: t.to(now) if t.dtype == traced else t)
    return inputs


def indices_now(graph: ChannelGraph, surgery: Surgery) -> dict[str, Tensor]:
    """Buffers whose values are slots, or say which slots, as they are once channels are gone."""
    names = {remap.name for remap in surgery.remaps}
    names |= {s.name for s in graph.sources if s.tensor.dtype == torch.bool and s.name in surgery.slices}
    if not names:
        return {}
    tensors = {name: t.detach().cpu() for name, t in named_tensors(graph.model).items() if name in names}
    slices = {name: axes for name, axes in surgery.slices.items() if name in names}
    return changed(tensors, slices, surgery.remaps)


def returned_otherwise(
    graph: ChannelGraph, outputs: Sequence[Tensor], made: Mapping[int, Origin]
) -> int | None:
    """The record whose result stood where something else is returned now; None where all is as it was.

    Args:
        graph: the dense model.
        outputs: what is returned now.
        made: which operator made a tensor, by `id`, of the forward that runs now.
    """
    first: dict[int, Origin] = {id(source.tensor): (-1, i) for i, source in enumerate(graph.sources)}
    first |= {
        id(tensor): (index, position)
        for index, record in enumerate(graph.records)
        for position, tensor in enumerate(record.outputs)
    }
    before = [first.get(id(tensor)) for tensor in graph.returned]
    now = [made.get(id(tensor)) for tensor in outputs]
    if before == now:
        return None
    other = next((a for a, b in zip(before, now) if a != b), None)
    return len(graph.records) - 1 if other is None else max(other[0], 0)


def said_otherwise(graph: ChannelGraph, outputs: Any, again: Callable[[], Any]) -> bool:
    """Whether plain numbers or texts that a forward returns are others than before, and no clock's, which is
    another one `again` too.
    """
    said = said_in(outputs)
    if said == graph.said:
        return False
    repeated = said_in(again())
    return len(said) != len(repeated) or any(a == b != c for a, b, c in zip(graph.said, repeated, said))
