"""The ONNX file of a coded network without its weights, and the file again, given these: numpy alone.

A skeleton is a list of references, each a constant of the graph that is a tensor of the coded file or made of
some, and the rest of the file as it is. The constants are named w0, w1, … in the order of the list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.coding.fields import Fields, number, signed
from prunus.coding.table import DTYPES, Entry
from prunus.coding.tensors import Grid, values_of
from prunus.errors import FileFormatError

SAME, PERMUTED, RESHAPED, SUM = range(4)  # what a constant is of a tensor
# ONNX's own numbers of the types.
KINDS = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
    "complex64": 14,
    "complex128": 15,
    "bfloat16": 16,
}
_NODE, _INITIALIZER, _GRAPH = 1, 5, 7  # fields of GraphProto, and of ModelProto
_MOST_TIMES, _MOST = 4, 1 << 20  # elements of all constants, beside those of the tensors


@dataclass(frozen=True)
class Reference:
    """A constant of the graph.

    Attributes:
        tensor: its place in the coded file.
        way: SAME, PERMUTED, RESHAPED or SUM.
        numbers: the axes, the lengths, or the place of the other tensor.
    """

    tensor: int
    way: int = SAME
    numbers: tuple[int, ...] = ()


def write(references: Sequence[Reference], outer: bytes, graph: bytes) -> bytes:
    """A skeleton.

    Args:
        references: in the order of their names.
        outer: the ModelProto without its graph.
        graph: the GraphProto without these constants.
    """
    parts, following = [number(len(references))], 0
    for one in references:
        parts += [signed(one.tensor - following), bytes([one.way])]
        if one.way != SAME:
            parts += [number(len(one.numbers)), *map(number, one.numbers)]
        following = one.tensor + 1
    return b"".join((*parts, number(len(outer)), outer, graph))


@dataclass(frozen=True)
class Composed:
    """An ONNX file.

    Attributes:
        content: its bytes.
        integers: how many of its weights are integers.
    """

    content: bytes
    integers: int


def composed(skeleton: bytes, entries: Sequence[Entry], *, int8: bool = False) -> Composed:
    """The ONNX file of a skeleton and the tensors of its coded file.

    Args:
        skeleton: as `write` makes it.
        entries: the tensors.
        int8: store weights on a grid whose integers fit into 8 bits as these, and let nodes multiply them.

    Raises FileFormatError where the skeleton is none, or another file's.
    """
    fields = Fields(skeleton, "ONNX skeleton")
    references = _read(fields)
    outer, rest = fields.take(fields.number(fields.left)), fields.take(fields.left)
    before, after, left = list[bytes](), list[bytes](), _MOST + _MOST_TIMES * sum(map(_size, entries))
    for place, one in enumerate(references):
        if one.tensor >= len(entries):
            raise FileFormatError(
                f"Its ONNX skeleton takes tensor {one.tensor}, and there are {len(entries)}."
            )
        coded, name = entries[one.tensor].coded, f"w{place}"
        left -= _size(entries[one.tensor])
        if left < 0:
            raise FileFormatError("Its ONNX skeleton has far more constants than the file has tensors.")
        if int8 and isinstance(coded, Grid) and one.way == SAME and _is_small(coded):
            before.append(_multiplied(name))
            after.append(_constant(f"{name}_q", "int8", coded.integers))
            after.append(_constant(f"{name}_s", "float32", np.array(coded.step)))
        else:
            after.append(_constant(name, entries[one.tensor].dtype, made(one, entries)))
    graph = b"".join((*before, rest, *(_message(_INITIALIZER, one) for one in after)))
    return Composed(outer + _message(_GRAPH, graph), len(before))


def _is_small(coded: Grid) -> bool:
    """Whether all integers fit into 8 bits."""
    integers = coded.integers
    return bool(integers.size) and -128 <= int(integers.min()) <= int(integers.max()) <= 127


def _multiplied(name: str) -> bytes:
    """The nodes that multiply integers with their step: a cast and a product, which runtimes compute when
    they open the file. A node that dequantises would let them round what the layer reads as well.
    """
    to_float = _message(1, b"to") + b"\x18\x01\xa0\x01\x02"  # the attribute to = 1
    cast = _node("Cast", [f"{name}_q"], f"{name}_f") + _message(5, to_float)
    return _message(_NODE, cast) + _message(_NODE, _node("Mul", [f"{name}_f", f"{name}_s"], name))


def _node(kind: str, inputs: Sequence[str], output: str) -> bytes:
    """A NodeProto without attributes."""
    taken = b"".join(_message(1, one.encode()) for one in inputs)
    return taken + _message(2, output.encode()) + _message(4, kind.encode())


def _read(fields: Fields) -> list[Reference]:
    found, following = list[Reference](), 0
    for _ in range(fields.number(fields.left)):
        tensor, way = following + fields.signed(), fields.byte()
        if tensor < 0 or way > SUM:
            raise FileFormatError("Its ONNX skeleton has a constant of an unknown kind.")
        numbers = () if way == SAME else tuple([fields.number() for _ in range(fields.number(fields.left))])
        found.append(Reference(tensor, way, numbers))
        following = tensor + 1
    return found


def _size(entry: Entry) -> int:
    return int(values_of(entry.coded).size)


def made(one: Reference, entries: Sequence[Entry]) -> NDArray[Any]:
    """The values of a constant. Raises FileFormatError where it cannot be made."""
    values, numbers = values_of(entries[one.tensor].coded), one.numbers
    if one.way == PERMUTED and sorted(numbers) == list(range(values.ndim)):
        return values.transpose(numbers)
    if one.way == RESHAPED and math.prod(numbers) == values.size:
        return values.reshape(numbers)
    if one.way == SUM and len(numbers) == 1 and numbers[0] < len(entries):
        other = values_of(entries[numbers[0]].coded)
        if other.shape == values.shape and other.dtype == values.dtype == np.float32:
            return np.asarray(values + other)
    if one.way == SAME:
        return values
    raise FileFormatError("Its ONNX skeleton has a constant that cannot be made of the file's tensors.")


def _constant(name: str, dtype: str, values: NDArray[Any]) -> bytes:
    """A TensorProto: lengths, type, name and raw data."""
    if dtype not in KINDS:
        raise FileFormatError(f"Its ONNX skeleton takes a tensor of type {dtype}, which ONNX cannot.")
    lengths = b"".join(b"\x08" + number(length) for length in values.shape)
    raw = np.ascontiguousarray(values.astype(DTYPES[dtype])).tobytes()
    return lengths + b"\x10" + number(KINDS[dtype]) + _message(8, name.encode()) + _message(9, raw)


def _message(field: int, content: bytes) -> bytes:
    """A field of protobuf that holds bytes."""
    return bytes([field << 3 | 2]) + number(len(content)) + content


__all__ = [
    "KINDS",
    "PERMUTED",
    "RESHAPED",
    "SAME",
    "SUM",
    "Composed",
    "Reference",
    "composed",
    "made",
    "write",
]
