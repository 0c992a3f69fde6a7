from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunus.coding import Codebook, Grid, Plain, table
from prunus.coding.table import CODEBOOK, DTYPES, FILLED, GRID, ONES, VALUES, ZEROS, Entry, Row
from prunus.errors import FileFormatError

lengths = st.lists(st.integers(0, 300), max_size=5).map(tuple)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    kind, shape = draw(st.sampled_from([VALUES, GRID, CODEBOOK, ZEROS, ONES, FILLED])), draw(lengths)
    if kind == GRID:
        return Row(kind, shape, step=draw(st.floats(2.0**-100, 2.0**100, width=32)))
    if kind == CODEBOOK:
        return Row(kind, shape, centroids=draw(st.integers(0, 65536)))
    dtype = draw(st.sampled_from([name for name in DTYPES if not name.startswith("float8")]))
    fill = b"\1" * np.dtype(DTYPES[dtype]).itemsize if kind == FILLED else b""
    return Row(kind, shape, dtype, fill=fill)


@given(st.lists(rows(), max_size=8))
def test_every_table_comes_back(given: list[Row]) -> None:
    assert table.read(table.write(given), 1 << 62) == given


def test_the_shapes_of_a_network_take_few_bytes() -> None:
    """A bias is as long as its matrix has rows, the next layer reads as many channels."""
    shapes = [(7, 1, 5, 5), (7,), (12, 7, 5, 5), (12,), (30, 192), (30,), (10, 30), (10,)]
    written = table.write([Row(GRID, shape, step=0.5) for shape in shapes])
    # each a byte for the kind and one for the step; the shapes: 5, 0, 1, 0, 4, 0, 1, 0
    assert len(written) == 1 + 8 * 2 + 5 + 1 + 4 + 1
    # a square matrix after one with as many rows, and vectors that belong to no matrix
    square = [(16, 16, 3, 3), (16, 16, 3, 3), (16,), (17,)]
    assert len(table.write([Row(ZEROS, shape) for shape in square])) == 1 + (1 + 5) + 1 + 1 + 3


def test_steps_take_as_many_bytes_as_they_have() -> None:
    lengths = [len(table.write([Row(GRID, (), step=step)])) for step in (2.0, 0.75, 1 + 2**-15, 0.1)]
    assert lengths == [4, 5, 6, 7]
    assert table.read(table.write([Row(GRID, (), step=0.1)]), 9)[0].step == float(np.float32(0.1))


@pytest.mark.parametrize(
    "coded, dtype, kind",
    [
        (Plain(np.zeros((3, 2), np.float32)), "float32", ZEROS),
        (Plain(np.array(0)), "int64", ZEROS),
        (Plain(np.ones(4, np.float16)), "float16", ONES),
        (Plain(np.full(3, 0.5)), "float64", FILLED),
        (Plain(np.array([0.0, -0.0], np.float32)), "float32", VALUES),  # not the same bits
        (Plain(np.array([-0.0, -0.0], np.float32)), "float32", FILLED),
        (Plain(np.full(2, 0x3F80, np.uint16)), "bfloat16", ONES),
        (Plain(np.empty((0, 3), np.float32)), "float32", ZEROS),
        (Grid(np.zeros((2, 2), np.int32), 0.5), "float32", ZEROS),
        (Grid(np.full((2, 2), 2, np.int32), 0.5), "float32", ONES),
        (Grid(np.eye(2, dtype=np.int32), 0.5), "float32", GRID),
        (Codebook(np.ones(3, np.int32), np.array([0, 7], np.float32)), "float32", FILLED),
        (Codebook(np.arange(2, dtype=np.int32), np.array([0, 7], np.float32)), "float32", CODEBOOK),
    ],
)
def test_tensors_of_one_value_are_that_value(coded: Plain | Grid | Codebook, dtype: str, kind: int) -> None:
    row = table.row_of(Entry(coded, dtype))
    assert row.kind == kind
    if kind in (ZEROS, ONES, FILLED):
        from prunus.coding import values_of

        again = table.filled(table.read(table.write([row]), 99)[0])
        wanted = values_of(coded)
        assert again.shape == wanted.shape and again.tobytes() == wanted.tobytes()


def test_what_is_out_of_proportion_is_refused_before_it_is_made() -> None:
    huge = table.write([Row(ZEROS, (1 << 30, 1 << 30))])
    with pytest.raises(FileFormatError, match=r"more than 1,000 elements together, out of proportion"):
        table.read(huge, 1000)
    empty = table.write([Row(ZEROS, (0, 1 << 39, 1 << 39))])
    with pytest.raises(FileFormatError, match="out of proportion"):
        table.read(empty, 1000)
    many = table.write([Row(ZEROS, (20, 20))] * 3)
    with pytest.raises(FileFormatError, match="out of proportion"):
        table.read(many, 1000)
    assert math.prod(table.read(many, 1200)[2].shape) == 400


@pytest.mark.parametrize(
    "data, text",
    [
        (b"\x01\x07\x00", "unknown kind 7"),
        (b"\x01\x06\x01\x02\x3f", "a trellis of one axis"),
        (b"\x01\x86\x02\x02\x02\x3f", "unknown kind 134"),
        (b"\x01\x42\x00\x01", "unknown kind 66"),  # a codebook of another type
        (b"\x01\x40\x00", "unknown kind 64"),
        (b"\x01\x81\x00", "unknown kind 129"),  # a step of five bytes
        (b"\x01\x08", "takes a shape from a matrix before it"),
        (b"\x01\x01\x00\x00", "the step 0.0, which is no positive number"),
        (b"\x01\x21\x00" + struct.pack(">f", -math.inf)[:2], "the step -inf"),
        (b"\x01\x24\x0f\x00", "ones of the type float8_e4m3fn"),
        (b"\x01\x25\x09\x00\x02", "neither 0 nor 1"),
        (b"\x01\x20\x11\x00", "17 where at most 16"),
        (b"\x01\x00\x11", "17 where at most 16"),
        (b"\x02\x03\x00", "ends too early"),
        (b"\x01\x03\x00\x00", "1 bytes too many"),
    ],
)
def test_other_tables_are_refused_by_name(data: bytes, text: str) -> None:
    with pytest.raises(FileFormatError, match=text):
        table.read(data, 1000)
