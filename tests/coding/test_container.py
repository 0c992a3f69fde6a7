from __future__ import annotations

import json
import random
import zlib

import numpy as np
import pytest

from prunus.coding import Codebook, Grid, Plain, container, values_of
from prunus.coding.deflation import deflated
from prunus.coding.fields import number
from prunus.coding.table import GRID, ONES, Entry, Row, write
from prunus.coding.trellis import integers_of
from prunus.errors import FileFormatError

DRAW = np.random.default_rng(0)
ENTRIES = [
    Entry(Grid(DRAW.integers(-3, 4, (5, 3, 3, 3)).astype(np.int32), 0.1)),
    Entry(Codebook(DRAW.integers(0, 4, (6, 5)).astype(np.int32), np.array([0, 1, -1, 0.3], np.float32))),
    Entry(Plain(DRAW.normal(size=(2, 3)).astype(np.float32))),
    Entry(Plain(DRAW.normal(size=7).astype(np.float16)), "float16"),
    Entry(Plain(DRAW.integers(0, 1 << 16, 5).astype(np.uint16)), "bfloat16"),
    Entry(Plain(np.arange(-2, 3)), "int64"),
    Entry(Plain(np.array([True, False, True])), "bool"),
    Entry(Plain(np.array([1 + 2j, 0], np.complex64)), "complex64"),
    Entry(Plain(np.array(2.5)), "float64"),
    Entry(Plain(np.empty((0, 4), np.float32))),
    Entry(Grid(np.zeros((4, 4), np.int32), 0.1)),
    Entry(Grid(integers_of(DRAW.integers(-3, 4, (5, 3, 2, 2)).astype(np.int32)), 0.25, trellis=True)),
]


def framed(*sections: tuple[int, bytes], version: int = 1) -> bytes:
    """A file of sections as they are."""
    rest = b"".join(bytes([kind]) + number(len(body)) + body for kind, body in sections)
    return b"PRN" + bytes([version]) + zlib.crc32(rest).to_bytes(4, "little") + rest


def test_every_kind_of_tensor_comes_back_bit_for_bit() -> None:
    data = container.write(b"network", ENTRIES, plan="{}", skeleton=b"graph", about={"a": [1]})
    sections = container.read(data)
    found = container.tensors(sections)
    for one, other in zip(ENTRIES, found, strict=True):
        wanted, values = values_of(one.coded), values_of(other.coded)
        assert one.dtype == other.dtype and wanted.dtype == values.dtype and wanted.shape == values.shape
        assert wanted.tobytes() == values.tobytes()
    assert [type(entry.coded) for entry in found[:3]] == [Grid, Codebook, Plain]
    assert sections[1].content == b"network" and sections[66].content == b"graph"
    assert sections[67].content == b'{"a":[1]}' and sections[65].content == b"{}"
    assert sum(container.sizes(data).values()) == len(data)


def test_little_is_said_of_a_small_network() -> None:
    entries = [Entry(Grid(np.eye(3, dtype=np.int32), 1.0)), Entry(Grid(np.arange(3, dtype=np.int32), 1.0))]
    sizes = container.sizes(container.write(b"n", entries))
    assert sizes.keys() == {"head", "network", "table of tensors", "integers"}
    assert sizes["head"] == 8 and sizes["network"] == 3 and sizes["table of tensors"] <= 12


def test_an_empty_stream_and_no_stream_are_one() -> None:
    """Indices that are all zero are one value; zeros of a grid after others cost next to nothing."""
    assert container.tensors(container.read(container.write(b"n", []))) == []
    row = Row(GRID, (2, 2), step=1.0)
    (entry,) = container.tensors(container.read(framed((1, b""), (2, write([row])))))
    assert isinstance(entry.coded, Grid) and not entry.coded.integers.any()


def test_every_flipped_bit_and_every_missing_end_is_told() -> None:
    data = container.write(b"network", ENTRIES)
    for place in random.Random(0).sample(range(8 * len(data)), 200):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(FileFormatError):
            container.read(bytes(changed))
    for length in range(len(data)):
        with pytest.raises(FileFormatError):
            container.read(data[:length])


@pytest.mark.parametrize(
    "data, text",
    [
        (b"PK\3\4", "It is no coded network"),
        (b"PRN", "truncated"),
        (framed((1, b""), (2, b"\0"), version=2), r"of version 2; this version of prunus reads version 1\."),
        (framed((1, b"")), "It has no table of tensors"),
        (framed((2, b"\0")), "It has no network"),
        (framed((1, b""), (2, b"\0"), (2, b"\0")), "two sections of the kind 2"),
        (framed((1, b""), (2, b"\0"), (9, b"")), "unknown kind 9"),
    ],
)
def test_what_is_no_file_is_refused_by_name(data: bytes, text: str) -> None:
    with pytest.raises(FileFormatError, match=text):
        container.read(data)


def test_optional_sections_of_later_versions_are_passed_over() -> None:
    sections = container.read(framed((1, b""), (2, b"\0"), (100, b"later")))
    assert container.tensors(sections) == []


GRID_ROW, ONE = Row(GRID, (1 << 9, 1 << 9), step=1.0), Row(ONES, (1, 1))


@pytest.mark.parametrize(
    "sections, text",
    [
        ([(2, write([GRID_ROW])), (3, b"\1" * 100)], "262,144 integers; that is out of proportion"),
        ([(2, write([Row(ONES, (1 << 21,))]))], "out of proportion to its length"),
        ([(2, write([ONE])), (3, b"\1")], "belongs to no tensor"),
        ([(2, write([Row(GRID, (2,), step=1.0)])), (131, deflated(b"\1"))], "is deflated"),
        ([(2, write([Row(0, (2,))]))], "does not fit its other sections"),
        ([(2, write([Row(0, (2,))])), (4, bytes(7))], "7 bytes of plain values where its tensors take 8"),
        ([(2, write([Row(0, (2,))])), (132, deflated(bytes(99)))], "would inflate to more than 8 bytes"),
        ([(2, write([Row(0, (2,), "bool")])), (4, b"\0\2")], "truth value"),
        ([(2, write([Row(2, (4, 4), centroids=0)])), (3, b"\0")], "beyond the 0 centroids"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(sections: list[tuple[int, bytes]], text: str) -> None:
    with pytest.raises(FileFormatError, match=text):
        container.tensors(container.read(framed((1, b""), *sections)))


def test_a_very_sparse_stream_is_filled_up_to_be_in_proportion() -> None:
    sparse = np.zeros((400, 500), np.int32)
    sparse[0, 0] = 1
    data = container.write(b"", [Entry(Grid(sparse, 0.5))])
    (entry,) = container.tensors(container.read(data))
    assert np.array_equal(values_of(entry.coded), sparse * np.float32(0.5))
    assert (400 * 500 - (1 << 16)) // 1024 <= container.sizes(data)["integers"] < 150


@pytest.mark.parametrize("kind", [1, 65, 67])
def test_a_section_of_json_cannot_be_made_of_next_to_nothing(kind: int) -> None:
    """250 kB of notes were inflated to 256 MB of JSON, and that became 6 GB of objects."""
    empty = b'{"a":[' + b"{}," * (6 << 20) + b"{}]}"
    body = deflated(empty)
    assert len(body) < 40_000
    others = [(one, b"") for one in (1, 2) if one != kind]
    section = container.read(framed(*others, (kind | 128, body)))[kind]
    with pytest.raises(FileFormatError, match=r"would inflate to more than 16,777,216 bytes"):
        section.content  # noqa: B018


def test_long_notes_are_written_as_they_are() -> None:
    about = {"a": "b" * (1 << 24)}
    assert json.loads(container.read(container.write(b"network", [], about=about))[67].content) == about
