"""Turn what the canvas saw into a cost model: which products of axis lengths make MACs, parameters, bytes
and activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prunus.paint.canvas import Canvas
from prunus.paint.cost import AxisTable, CostModel, LayerCost, Terms
from prunus.paint.memory import memory_of
from prunus.paint.records import Contraction, Labels, Paint, Record
from prunus.paint.source import Source

if TYPE_CHECKING:
    from prunus.paint.graph import Axis, ChannelGraph


@dataclass(frozen=True)
class CostParts:
    """The products, before groups are known."""

    macs: Terms
    params: Terms
    bytes: Terms
    activations: Terms
    births: list[int]
    deaths: list[int]

    def model(self, table: AxisTable, slots: Labels, sizes: Labels) -> CostModel:
        """The cost model once channels are grouped: `slots`, shape (axes, groups), are those that a group of
        `sizes` channels takes.
        """
        return CostModel(
            per_group=slots / sizes,
            fixed=(table.lengths() - slots.sum(axis=1)).astype(np.float64),
            macs=self.macs.freeze(),
            params=self.params.freeze(),
            bytes=self.bytes.freeze(),
            activations=self.activations.freeze(),
            births=np.array(self.births, dtype=np.int64),
            deaths=np.array(self.deaths, dtype=np.int64),
        )


def cost_model(
    table: AxisTable, canvas: Canvas, sources: Sequence[Source], axes: Sequence[Axis]
) -> CostParts:
    """Collect every product; axes are entered into `table`."""
    parts = CostParts(Terms(), Terms(), Terms(), Terms(), [], [])
    for contraction in canvas.contractions:
        constant, factors = contraction.constant, []
        for labels in contraction.factors:
            number, index = table.add(labels)
            constant *= number
            factors.append(index)
        parts.macs.add(constant, [f for f in factors if f])
    following = iter(axes)
    for source in sources:
        constant, factors = 1, []
        for axis in islice(following, source.tensor.dim()):
            if axis.pattern:
                factors.append(axis.pattern)
            else:
                constant *= len(axis.channels)
        if source.is_parameter:
            parts.params.add(constant, factors)
        parts.bytes.add(constant * source.tensor.element_size(), factors)
    _activations(parts, table, canvas.records, {id(s.tensor) for s in sources})
    return parts


def _activations(parts: CostParts, table: AxisTable, records: Sequence[Record], sources: set[int]) -> None:
    """Storage is born with the first tensor on it and dies after its last use; views and in-place results
    share it.
    """
    owned = {id(t): t for record in records for t in record.tensors if id(t) in sources}
    born = {memory_of(t) for t in owned.values()}
    last: dict[int, int] = {}
    births: list[tuple[int, int, Tensor, Paint]] = []
    for i, record in enumerate(records):
        made = zip((*record.tensors, *record.outputs), (*record.inputs, *record.paints))
        for place, (tensor, paint) in enumerate(made):
            if id(tensor) not in owned:
                key = memory_of(tensor)
                last[key] = i
                if key not in born and tensor.numel():
                    born.add(key)
                    births.append((key, 0 if place < len(record.tensors) else i, tensor, paint))
    for key, birth, tensor, paint in births:
        _activation(parts, table, tensor, paint)
        parts.births.append(birth)
        parts.deaths.append(last[key])


def _activation(parts: CostParts, table: AxisTable, tensor: Tensor, paint: Paint) -> None:
    by_axis = {stripe.axis: stripe.labels for stripe in paint}
    constant, factors = tensor.element_size(), []
    for axis, size in enumerate(tensor.shape):
        number, index = table.add(by_axis[axis]) if axis in by_axis else (size, 0)
        constant *= number
        if index:
            factors.append(index)
    parts.activations.add(constant, factors)


def layer_costs(graph: ChannelGraph, removed: NDArray[np.bool_]) -> tuple[LayerCost, ...]:
    """Per contraction: shapes, width and cost before and after."""
    sources = {id(s.tensor): s for s in graph.sources}
    result = []
    for contraction in graph.contractions:
        record = graph.records[contraction.record]
        weights = [sources[id(t)] for t in record.tensors if id(t) in sources and t.dim() > 1]
        weight = max(weights, key=lambda s: s.tensor.dim(), default=None) or _weight_behind(
            graph, record, sources
        )
        name = weight.name.rpartition(".")[0] or weight.name if weight else record.module
        before, after = (
            tuple(record.outputs[0].shape),
            graph.kept_shape(record.outputs[0].shape, record.paints[0], removed),
        )
        axis = _width_axis(record)
        shapes = [_source_shape(graph, s, removed) for s in ([weight] if weight else [])]
        own = [
            s
            for s in graph.sources
            if s.is_parameter
            and weight is not None
            and s.name.rpartition(".")[0] == weight.name.rpartition(".")[0]
        ]
        result.append(
            LayerCost(
                name=name or record.module or record.operator,
                op="convolution" if "convolution" in record.operator else "linear" if weight else "product",
                weight_shape=shapes[0] if shapes else (),
                output_shape=after,
                width_before=before[axis],
                width_after=after[axis],
                macs_before=_macs(graph, contraction, np.zeros_like(removed)),
                macs_after=_macs(graph, contraction, removed),
                params_before=sum(s.tensor.numel() for s in own),
                params_after=sum(int(np.prod(_source_shape(graph, s, removed))) for s in own),
            )
        )
    return tuple(result)


def _weight_behind(graph: ChannelGraph, record: Record, sources: dict[int, Source]) -> Source | None:
    """The parameter of two or more dimensions whose transpose, reshape or standardisation a product reads.

    Only what is made of parameters alone is followed, so that an activation never leads to the layer before.
    """
    made = {id(o): r for r in graph.records for o in r.outputs}

    def origin(tensor: Tensor, depth: int = 12) -> Source | None:
        if id(tensor) in sources:
            source = sources[id(tensor)]
            return source if source.is_parameter and tensor.dim() > 1 else None
        maker = made.get(id(tensor))
        if maker is None or not depth:
            return None
        found = [origin(t, depth - 1) for t in maker.tensors]
        return (
            next((s for s in found if s is not None), None)
            if _of_parameters(maker, made, sources, depth)
            else None
        )

    return next((s for s in map(origin, record.tensors) if s is not None), None)


def _of_parameters(record: Record, made: dict[int, Record], sources: dict[int, Source], depth: int) -> bool:
    """Whether an operator reads parameters, buffers and constants only."""
    return all(
        id(t) in sources
        or (id(t) in made and depth > 0 and _of_parameters(made[id(t)], made, sources, depth - 1))
        for t in record.tensors
    )


def _width_axis(record: Record) -> int:
    if "convolution" in record.operator:
        return int(record.outputs[0].dim() - (record.args[1].dim() - 2) - 1)
    return int(record.outputs[0].dim() - 1)


def _source_shape(graph: ChannelGraph, source: Source, removed: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(graph.kept_length(source.colours(a), removed) for a in range(source.tensor.dim()))


def _macs(graph: ChannelGraph, contraction: Contraction, removed: NDArray[np.bool_]) -> int:
    total = contraction.constant
    for labels in contraction.factors:
        total *= graph.kept_length(labels, removed)
    return total
