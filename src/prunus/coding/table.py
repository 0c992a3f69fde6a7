"""The table of tensors: of each its kind, its shape and what turns integers into values.

A tensor of one value (ones, zeros, a counter) takes a byte or two, and so does a shape that follows from the
matrix before it: a bias is as long as that has rows, the next layer reads as many channels as that has rows.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.coding.fields import Fields, number
from prunus.coding.tensors import Codebook, CodedTensor, Grid, Plain, values_of
from prunus.errors import FileFormatError

# Types by their number in a file, as torch calls them, and how numpy holds their bits.
DTYPES = {
    "float32": "<f4",
    "float16": "<f2",
    "float64": "<f8",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "|i1",
    "uint8": "|u1",
    "bool": "|b1",
    "complex64": "<c8",
    "complex128": "<c16",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "float8_e4m3fn": "|u1",
    "float8_e5m2": "|u1",
}
_NAMES = tuple(DTYPES)

VALUES, GRID, CODEBOOK, ZEROS, ONES, FILLED, TRELLIS = range(7)  # kinds, in the lowest three bits
STEPPED = (GRID, TRELLIS)
_GIVEN, _VECTOR, _NEXT, _SQUARE = range(4)  # shapes, in the two above
_OTHER_TYPE = 1 << 5  # a byte with the number of its type follows
MOST_AXES, MOST_LENGTH, MOST_CENTROIDS = 16, 1 << 40, 1 << 16
MOST_TENSORS = 1 << 20


@dataclass(frozen=True, eq=False)
class Entry:
    """A tensor of a file.

    Attributes:
        coded: its values; those of a type that numpy lacks as unsigned integers of the same bits.
        dtype: its type, as torch calls it.
    """

    coded: CodedTensor
    dtype: str = "float32"


@dataclass(frozen=True)
class Row:
    """What the table says of a tensor.

    Attributes:
        kind: VALUES, GRID, CODEBOOK, ZEROS, ONES, FILLED or TRELLIS.
        shape: of the tensor.
        dtype: its type, as torch calls it.
        step: of a grid.
        centroids: of a codebook, their number.
        fill: the bytes of the one value.
    """

    kind: int
    shape: tuple[int, ...]
    dtype: str = "float32"
    step: float = 0.0
    centroids: int = 0
    fill: bytes = b""

    @property
    def size(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)


def shape_of(coded: CodedTensor) -> tuple[int, ...]:
    """Of the tensor."""
    array: NDArray[Any] = (
        coded.integers
        if isinstance(coded, Grid)
        else coded.indices
        if isinstance(coded, Codebook)
        else coded.values
    )
    return tuple(array.shape)


def row_of(entry: Entry) -> Row:
    """What the table says of a tensor: of one value, if it has one everywhere, however it is coded."""
    coded, shape, dtype = entry.coded, shape_of(entry.coded), entry.dtype
    fill = _fill(values_of(coded), dtype) if isinstance(coded, Plain) or _is_flat(coded) else None
    if fill is not None:
        kind = ZEROS if not any(fill) else ONES if fill == _one(dtype) else FILLED
        return Row(kind, shape, dtype, fill=fill if kind == FILLED else b"")
    if isinstance(coded, Grid):
        kind = TRELLIS if coded.trellis else GRID
        return Row(kind, shape, step=float(np.float32(coded.step)))
    if isinstance(coded, Codebook):
        return Row(CODEBOOK, shape, centroids=len(coded.centroids))
    return Row(VALUES, shape, dtype)


def _is_flat(coded: Grid | Codebook) -> bool:
    """Whether all integers are the same, and few words say more."""
    whole = coded.integers if isinstance(coded, Grid) else coded.indices
    return not whole.size or int(whole.min()) == int(whole.max())


def _fill(values: NDArray[Any], dtype: str) -> bytes | None:
    """The bytes of the one value that a tensor has everywhere."""
    if not values.size:
        return b""
    bits = np.ascontiguousarray(values, DTYPES[dtype]).reshape(-1, 1).view(np.uint8)
    return bits[0].tobytes() if bool((bits == bits[0]).all()) else None


def _one(dtype: str) -> bytes:
    """The bytes of 1, of types that numpy has."""
    if dtype == "bfloat16":
        return b"\x80\x3f"
    return b"" if dtype.startswith("float8") else np.ones(1, DTYPES[dtype]).tobytes()


def filled(row: Row) -> NDArray[Any]:
    """A tensor of one value."""
    kind = np.dtype(DTYPES[row.dtype])
    one = bytes(kind.itemsize) if row.kind == ZEROS else row.fill or _one(row.dtype)
    return np.full(row.shape, np.frombuffer(one, kind)[0] if row.size else 0, kind.newbyteorder("="))


def write(rows: Sequence[Row]) -> bytes:
    """The table's bytes."""
    parts, last = [number(len(rows))], tuple[int, ...]()
    for row in rows:
        parts.append(_written(row, last))
        last = row.shape if len(row.shape) > 1 else last
    return b"".join(parts)


def _written(row: Row, last: tuple[int, ...]) -> bytes:
    form, lengths = _shape_form(row.shape, last)
    head = row.kind | form << 3
    if row.kind in STEPPED:
        step = struct.pack(">f", row.step).rstrip(b"\0")
        return bytes([head | (len(step) - 1) << 5]) + lengths + step
    if row.kind == CODEBOOK:
        return bytes([head]) + lengths + number(row.centroids)
    other = row.dtype != "float32"
    kind = bytes([_NAMES.index(row.dtype)]) if other else b""
    return bytes([head | (_OTHER_TYPE if other else 0)]) + kind + lengths + row.fill


def _shape_form(shape: tuple[int, ...], last: tuple[int, ...]) -> tuple[int, bytes]:
    """How a shape is written after the last matrix: its form, and what has to be said besides."""
    if last and shape == last[:1]:
        return _VECTOR, b""
    if last and shape[1:] == (last[0], *last[2:]):
        return (_SQUARE, b"") if shape[0] == last[0] else (_NEXT, number(shape[0]))
    return _GIVEN, number(len(shape)) + b"".join(map(number, shape))


def read(data: bytes, most: int) -> list[Row]:
    """The rows of a table.

    Raises FileFormatError where it is none, or where its tensors have more than `most` elements together.
    """
    fields, rows, last, left = Fields(data, "table of tensors"), list[Row](), tuple[int, ...](), most
    for _ in range(fields.number(min(MOST_TENSORS, fields.left))):
        row = _read_row(fields, last)
        left -= math.prod(
            max(length, 1) for length in row.shape
        )  # numpy cannot make every empty array either
        if left < 0:
            raise FileFormatError(
                f"Its tensors have more than {most:,} elements together, out of proportion to its length."
            )
        rows.append(row)
        last = row.shape if len(row.shape) > 1 else last
    fields.end()
    return rows


def _read_row(fields: Fields, last: tuple[int, ...]) -> Row:
    head = fields.byte()
    kind, form, more = head & 7, head >> 3 & 3, head >> 5
    if kind > TRELLIS or more > {GRID: 3, TRELLIS: 3, CODEBOOK: 0}.get(kind, 1):
        raise FileFormatError(f"Its table of tensors has an entry of the unknown kind {head}.")
    dtype = "float32"
    if kind not in (*STEPPED, CODEBOOK) and more:
        dtype = _NAMES[fields.number(len(_NAMES) - 1)]
    shape = _read_shape(fields, form, last)
    if kind == TRELLIS and len(shape) < 2:
        raise FileFormatError("Its table of tensors has a trellis of one axis, which needs two.")
    if kind in STEPPED:
        return Row(kind, shape, step=_read_step(fields.take(more + 1)))
    if kind == CODEBOOK:
        return Row(kind, shape, centroids=fields.number(MOST_CENTROIDS))
    fill = fields.take(np.dtype(DTYPES[dtype]).itemsize) if kind == FILLED else b""
    if kind == ONES and not _one(dtype):
        raise FileFormatError(
            f"Its table of tensors has ones of the type {dtype}, which are written as values."
        )
    if dtype == "bool" and fill > b"\1":
        raise FileFormatError("Its table of tensors has a truth value that is neither 0 nor 1.")
    return Row(kind, shape, dtype, fill=fill)


def _read_step(data: bytes) -> float:
    (step,) = struct.unpack(">f", data.ljust(4, b"\0"))
    if not (math.isfinite(step) and step > 0):
        raise FileFormatError(f"Its table of tensors has the step {step}, which is no positive number.")
    return float(step)


def _read_shape(fields: Fields, form: int, last: tuple[int, ...]) -> tuple[int, ...]:
    if form == _GIVEN:
        return tuple([fields.number(MOST_LENGTH) for _ in range(fields.number(MOST_AXES))])
    if not last:
        raise FileFormatError(
            "Its table of tensors takes a shape from a matrix before it, and there is none."
        )
    if form == _VECTOR:
        return last[:1]
    return (last[0] if form == _SQUARE else fields.number(MOST_LENGTH), last[0], *last[2:])


__all__ = ["DTYPES", "Entry", "Row", "filled", "read", "row_of", "shape_of", "write"]
