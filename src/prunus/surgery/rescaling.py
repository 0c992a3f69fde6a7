"""Numbers that a forward makes of a size, such as attention's 1/sqrt(d): they change when channels go, and
the weights in front make up for it.

Where the dense forward multiplies by c and the compact one by c', the rows of weights that make what is
multiplied are scaled by c / c'. That is exact as long as only slots are moved between the two, and nothing
else reads those rows. Behind a product of two tensors, as of queries and keys, either of them can make up for
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunus.paint.graph import ChannelGraph, Origin
from prunus.paint.records import Record

_COPIES = frozenset({"alias", "clone", "contiguous", "detach", "_to_copy"})
_VIEWS = frozenset({"view", "_unsafe_view", "reshape"})
_MOVES = frozenset({"permute", "transpose", "t", "unsqueeze", "squeeze", "expand", "roll", "flip"})
_PARTS = frozenset({"select", "slice", "split", "split_with_sizes", "chunk", "unbind"})
_MOVERS = _COPIES | _VIEWS | _MOVES | _PARTS
_PRODUCTS = frozenset({"bmm", "mm"})
_SCALINGS = frozenset({"mul", "div", "neg"})  # of one tensor by a number: rows stay what they are


@dataclass(frozen=True)
class Rescale:
    """Multiply `rows` of the first axis of `parameters` by `factor`; rows are counted before anything is
    removed.
    """

    parameters: tuple[str, ...]
    rows: tuple[int, ...]
    factor: float


@dataclass(frozen=True)
class _Producer:
    """An operator whose output's slots along `axis` are made by the rows of its parameters."""

    record: int
    parameters: tuple[str, ...]
    axis: int


def rescales_for(graph: ChannelGraph, numbers: Mapping[int, float]) -> tuple[tuple[Rescale, ...], int | None]:
    """What makes up for operators that multiply by another number than before.

    Args:
        graph: the dense model.
        numbers: record -> what its operand must be multiplied by.

    Returns:
        The rescales, and the first record that nothing can make up for (None if all is well).
    """
    readers = _readers(graph)
    result: dict[tuple[tuple[str, ...], tuple[int, ...]], Rescale] = {}
    for index, factor in numbers.items():
        key = next((key for key in _rows_in_front(graph, readers, index) if key not in result), None)
        if key is None:
            return tuple(result.values()), index
        result[key] = Rescale(*key, factor)
    return tuple(result.values()), None


def _rows_in_front(
    graph: ChannelGraph, readers: Mapping[int, list[int]], index: int
) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Parameters and their rows that make what a record multiplies, and nothing else."""
    for producer, reader, operand in _producers(graph, readers, index, 0):
        rows = _rows_read_alone(graph, readers, producer, reader, operand)
        if rows is not None:
            yield producer.parameters, rows


def _readers(graph: ChannelGraph) -> dict[int, list[int]]:
    """Per tensor, the records that read it, in order."""
    result: dict[int, list[int]] = {}
    for index, record in enumerate(graph.records):
        for tensor in dict.fromkeys(record.tensors):
            result.setdefault(id(tensor), []).append(index)
    return result


def _producers(
    graph: ChannelGraph, readers: Mapping[int, list[int]], index: int, operand: int
) -> Iterator[tuple[_Producer, int, Tensor]]:
    """Operators with weights behind an operand of a record, if only slots are moved in between; with the
    record and the operand that reads them.
    """
    reader, read = index, graph.records[index].tensors[operand]
    origin, alone = graph.wiring[index][operand], True
    while origin is not None and origin[0] >= 0:
        record = graph.records[origin[0]]
        alone = alone and len(record.outputs) == 1 and len(readers[id(record.outputs[0])]) == 1
        if not _moves(record):
            producer = _with_parameters(graph, readers, origin[0]) or _with_added_bias(
                graph, readers, origin[0]
            )
            if producer is not None:
                yield producer, reader, read
            elif record.operator in _PRODUCTS and alone:
                yield from _producers(graph, readers, origin[0], 0)
                yield from _producers(graph, readers, origin[0], 1)
            return
        origin = graph.wiring[origin[0]][0]


def _moves(record: Record) -> bool:
    return record.operator in _MOVERS or (record.operator in _SCALINGS and len(record.tensors) == 1)


def _with_parameters(graph: ChannelGraph, readers: Mapping[int, list[int]], index: int) -> _Producer | None:
    record = graph.records[index]
    args, rank = record.args, record.outputs[0].dim()
    if record.operator == "addmm":
        weights, axis = [args[2], args[0]], rank - 1
    elif record.operator == "mm":
        weights, axis = [args[1]], rank - 1
    elif record.operator == "convolution" and not args[6]:
        weights, axis = list(args[1:3]), rank - args[1].dim() + 1
    elif record.operator == "native_batch_norm":
        weights, axis = list(args[1:3]), 1
    elif record.operator == "native_layer_norm" and len(args[1]) == 1:
        weights, axis = list(args[2:4]), rank - 1
    else:
        return None
    origins = dict(zip(map(id, record.tensors), graph.wiring[index]))
    names = [_parameter(graph, readers, origins[id(weight)]) for weight in weights if weight is not None]
    return (
        _Producer(index, tuple(name for name in names if name), axis)
        if weights[0] is not None and all(names)
        else None
    )


def _with_added_bias(graph: ChannelGraph, readers: Mapping[int, list[int]], index: int) -> _Producer | None:
    """A linear layer of a batch with gaps in memory: a product, a view, and the bias added behind."""
    record = graph.records[index]
    if record.operator != "add" or len(record.tensors) != 2 or record.tensors[1].dim() != 1:
        return None
    origin, bias_origin = graph.wiring[index]
    bias = _parameter(graph, readers, bias_origin)
    while (
        origin is not None and origin[0] >= 0 and len(readers[id(graph.records[origin[0]].outputs[0])]) == 1
    ):
        before = graph.records[origin[0]]
        if before.operator not in _VIEWS:
            product = _with_parameters(graph, readers, origin[0]) if before.operator == "mm" else None
            same = product is not None and before.outputs[0].shape[-1] == record.outputs[0].shape[-1]
            return (
                _Producer(index, (*product.parameters, bias), record.outputs[0].dim() - 1)
                if product and bias and same
                else None
            )
        origin = graph.wiring[origin[0]][0]
    return None


def _parameter(graph: ChannelGraph, readers: Mapping[int, list[int]], origin: Origin | None) -> str | None:
    """The parameter that an operand is, itself or transposed, if nothing else reads it."""
    if origin is not None and origin[0] >= 0:
        transposed = graph.records[origin[0]]
        if transposed.operator != "t" or len(readers[id(transposed.outputs[0])]) != 1:
            return None
        origin = graph.wiring[origin[0]][0]
    if origin is None or origin[0] >= 0:
        return None
    source = graph.sources[origin[1]]
    return source.name if source.is_parameter and len(readers[id(source.tensor)]) == 1 else None


def _rows_read_alone(
    graph: ChannelGraph, readers: Mapping[int, list[int]], producer: _Producer, index: int, operand: Tensor
) -> tuple[int, ...] | None:
    """The rows that a record reads as one of its operands; None if another operator, or the other operand,
    reads one of them too.
    """
    mine: set[int] = set()
    others: set[int] = set()
    for reader, key, rows in _rows_read(graph, readers, producer, index):
        (mine if reader == index and key == id(operand) else others).update(rows)
    return tuple(sorted(mine)) if mine and not mine & others else None


def _rows_read(
    graph: ChannelGraph, readers: Mapping[int, list[int]], producer: _Producer, index: int
) -> Iterator[tuple[int, int, list[int]]]:
    """Send the numbers of the rows through everything that moves slots, and see who reads which, as which
    tensor.
    """
    out = graph.records[producer.record].outputs[0]
    shape = [n if axis == producer.axis else 1 for axis, n in enumerate(out.shape)]
    found: dict[int, Tensor] = {
        id(out): torch.arange(out.shape[producer.axis]).reshape(shape).expand(out.shape)
    }
    waiting = [(reader, id(out)) for reader in readers.get(id(out), [])]
    while waiting:
        reader, key = waiting.pop()
        record = graph.records[reader]
        if reader == index or not _moves(record):
            yield reader, key, torch.unique(found[key]).tolist()
            continue
        for tensor, rows in zip(record.outputs, _moved(record, found[key])):
            found[id(tensor)] = rows
            waiting.extend((after, id(tensor)) for after in readers.get(id(tensor), []))


def _moved(record: Record, rows: Tensor) -> tuple[Tensor, ...]:
    """What an operator that moves slots makes of the numbers of rows."""
    if record.operator in _SCALINGS or record.operator in _COPIES:
        return (rows,)
    if record.operator in _VIEWS:
        return (rows.reshape(record.args[1]),)
    moved: Any = record.func(rows, *record.args[1:], **record.kwargs)
    return (moved,) if isinstance(moved, Tensor) else tuple(moved)
