"""A coded network as bytes: sections behind a checksum, laid down in `docs/coded-file.md`.

Whatever a file declares is checked against its own length before anything is made of it: its tensors have at
most 2^20 + 1024 n elements together, n being the bytes of the file, and those in the stream of integers at
most 2^16 + 1024 m, m being the bytes of the stream.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunus.coding import integers, table
from prunus.coding.deflation import MOST, MOST_TEXT, deflated, inflated
from prunus.coding.fields import Fields, number
from prunus.coding.table import CODEBOOK, DTYPES, GRID, TRELLIS, VALUES, Entry, Row
from prunus.coding.tensors import Codebook, Grid, Plain, streamed, walks
from prunus.coding.trellis import integers_of
from prunus.errors import FileFormatError

MAGIC, VERSION = b"PRN", 1
NETWORK, TENSORS, INTEGERS, PLAIN, PLAN, SKELETON, ABOUT = 1, 2, 3, 4, 65, 66, 67
NAMES = {
    NETWORK: "network",
    TENSORS: "table of tensors",
    INTEGERS: "integers",
    PLAIN: "plain values",
    PLAN: "plan",
    SKELETON: "ONNX skeleton",
    ABOUT: "notes",
}
_MANY, _FEW, _PER_BYTE = 1 << 20, 1 << 16, 1024  # elements: of all tensors, in the stream, more for each byte
_TEXTS = (NETWORK, PLAN, ABOUT)
_STREAMED = (GRID, CODEBOOK, TRELLIS)  # kinds of tensors with integers in the stream
_DEFLATED, _OPTIONAL = 128, 64  # bits of a section's kind
_HEAD = len(MAGIC) + 1 + 4  # bytes before the first section

Sections = Mapping[int, "Section"]


@dataclass(frozen=True)
class Section:
    """A part of a file, as it lies there.

    Attributes:
        kind: its number.
        body: its bytes.
        packed: whether they are deflated.
    """

    kind: int
    body: bytes
    packed: bool

    @property
    def content(self) -> bytes:
        """What it says. Raises FileFormatError where it cannot be inflated."""
        if not self.packed:
            return self.body
        return inflated(self.body, NAMES[self.kind], MOST_TEXT if self.kind in _TEXTS else MOST)


def is_coded(data: bytes) -> bool:
    """Whether bytes begin as a coded file does."""
    return data[: len(MAGIC)] == MAGIC


def write(
    network: bytes,
    entries: Sequence[Entry],
    *,
    plan: str = "",
    skeleton: bytes = b"",
    about: Mapping[str, Any] | None = None,
) -> bytes:
    """The bytes of a file.

    Args:
        network: how it is built; `prunus.storage.coded_network` knows what that says.
        entries: its tensors.
        plan: what was removed, JSON; "" leaves it out.
        skeleton: its ONNX graph without weights, see `prunus.coding.skeleton`; b"" leaves it out.
        about: anything else, for people; None leaves it out.

    Raises FileFormatError where no reader would take the file.
    """
    rows = [table.row_of(entry) for entry in entries]
    bodies = {
        NETWORK: network,
        TENSORS: table.write(rows),
        INTEGERS: _integers(entries, rows),
        PLAIN: _plain(entries, rows),
        PLAN: plan.encode(),
        SKELETON: skeleton,
        ABOUT: json.dumps(about, separators=(",", ":")).encode() if about is not None else b"",
    }
    sections = b"".join(_framed(kind, body) for kind, body in bodies.items() if body or kind <= TENSORS)
    data = MAGIC + bytes([VERSION]) + zlib.crc32(sections).to_bytes(4, "little") + sections
    _rows(read(data))
    return data


def _framed(kind: int, body: bytes) -> bytes:
    packed = deflated(body) if kind != INTEGERS else body
    if len(packed) < len(body) and (kind not in _TEXTS or len(body) <= MOST_TEXT):
        kind, body = kind | _DEFLATED, packed
    return bytes([kind]) + number(len(body)) + body


def read(data: bytes) -> dict[int, Section]:
    """The sections of a file, by kind. Raises FileFormatError where it is no whole file of this version."""
    if not is_coded(data):
        raise FileFormatError("It is no coded network: it begins with other bytes.")
    if len(data) < _HEAD:
        raise FileFormatError("It ends before its first section; it is truncated.")
    if data[len(MAGIC)] != VERSION:
        raise FileFormatError(
            f"It is of version {data[len(MAGIC)]}; this version of prunus reads version {VERSION}."
        )
    if int.from_bytes(data[_HEAD - 4 : _HEAD], "little") != zlib.crc32(data[_HEAD:]):
        raise FileFormatError(
            "It is truncated or has been changed since it was written: its checksum does not fit."
        )
    fields, found = Fields(data[_HEAD:], "list of sections"), dict[int, Section]()
    while fields.left:
        head = fields.byte()
        section = Section(head & ~_DEFLATED, fields.take(fields.number(fields.left)), bool(head & _DEFLATED))
        if section.kind in found:
            raise FileFormatError(f"It has two sections of the kind {section.kind}.")
        if section.kind not in NAMES and not section.kind & _OPTIONAL:
            raise FileFormatError(f"It has a section of the unknown kind {section.kind}.")
        found[section.kind] = section
    for kind in (NETWORK, TENSORS):
        if kind not in found:
            raise FileFormatError(f"It has no {NAMES[kind]}.")
    return found


def sizes(data: bytes) -> dict[str, int]:
    """Bytes by section, what goes before all of them under "head"."""
    found = {NAMES.get(s.kind, f"section {s.kind}"): len(_frame(s)) for s in read(data).values()}
    return {"head": _HEAD, **found}


def _frame(section: Section) -> bytes:
    return bytes([section.kind]) + number(len(section.body)) + section.body


def tensors(sections: Sections) -> list[Entry]:
    """The tensors of a file, in its order. Raises FileFormatError."""
    rows = _rows(sections)
    whole = iter(_read_integers(sections, rows))
    values = _Values(sections, rows)
    return [_entry(row, whole, values) for row in rows]


def _rows(sections: Sections) -> list[Row]:
    """The table of a file, in proportion to what else is in it. Raises FileFormatError."""
    length = sum(len(section.body) for section in sections.values())
    rows = table.read(sections[TENSORS].content, most=_MANY + _PER_BYTE * length)
    count, stream = _count(rows), len(sections[INTEGERS].body) if INTEGERS in sections else 0
    if count > _FEW + _PER_BYTE * stream:
        raise FileFormatError(
            f"Its stream of {stream:,} bytes should hold {count:,} integers; that is out of proportion."
        )
    return rows


def _entry(row: Row, whole: Any, values: _Values) -> Entry:
    if row.kind == GRID:
        return Entry(Grid(next(whole), row.step))
    if row.kind == TRELLIS:
        return Entry(Grid(integers_of(next(whole)), row.step, trellis=True))
    if row.kind == CODEBOOK:
        indices, centroids = next(whole), values.take("float32", (row.centroids,))
        if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < row.centroids:
            raise FileFormatError(
                f"Its integers go beyond the {row.centroids:,} centroids of their codebook."
            )
        return Entry(Codebook(indices, centroids))
    if row.kind == VALUES:
        return Entry(Plain(values.take(row.dtype, row.shape)), row.dtype)
    return Entry(Plain(table.filled(row)), row.dtype)


def _integers(entries: Sequence[Entry], rows: Sequence[Row]) -> bytes:
    """The stream of integers, filled up with zeros, which say nothing, where it is out of proportion."""
    found = [
        entry.coded
        for entry, row in zip(entries, rows)
        if row.kind in _STREAMED and not isinstance(entry.coded, Plain)
    ]
    if not found:
        return b""
    stream = integers.encode([*map(streamed, found)], [*map(walks, found)])
    return stream.ljust(-(-(_count(rows) - _FEW) // _PER_BYTE), b"\0")


def _read_integers(sections: Sections, rows: Sequence[Row]) -> list[NDArray[np.int32]]:
    streams = [row for row in rows if row.kind in _STREAMED]
    shapes, walking = [row.shape for row in streams], [row.kind == TRELLIS for row in streams]
    section = sections.get(INTEGERS)
    if section is not None and (section.packed or not shapes):
        raise FileFormatError(
            "Its stream of integers is deflated, which it never is, or belongs to no tensor."
        )
    return integers.decode(section.body if section is not None else b"", shapes, walking) if shapes else []


def _count(rows: Sequence[Row]) -> int:
    """How many integers there are."""
    return sum(row.size for row in rows if row.kind in _STREAMED)


def _plain(entries: Sequence[Entry], rows: Sequence[Row]) -> bytes:
    parts = []
    for entry, row in zip(entries, rows):
        if isinstance(entry.coded, Codebook) and row.kind == CODEBOOK:
            parts.append(_planes(entry.coded.centroids, "float32"))
        elif isinstance(entry.coded, Plain) and row.kind == VALUES:
            parts.append(_planes(entry.coded.values, row.dtype))
    return b"".join(parts)


def _planes(values: NDArray[Any], dtype: str) -> bytes:
    """First all first bytes, then all second ones: equal exponents lie side by side."""
    kind = np.dtype(DTYPES[dtype])
    return np.ascontiguousarray(values, kind).view(np.uint8).reshape(-1, kind.itemsize).T.tobytes()


class _Values:
    """The plain values of a file, read from the front."""

    def __init__(self, sections: Sections, rows: Sequence[Row]) -> None:
        self._data, self._place, count = b"", 0, sum(_width(row) for row in rows)
        if not count and PLAIN not in sections:
            return
        if PLAIN not in sections:
            raise FileFormatError("Its table of tensors does not fit its other sections.")
        section = sections[PLAIN]
        self._data = inflated(section.body, NAMES[PLAIN], count) if section.packed else section.body
        if len(self._data) != count:
            raise FileFormatError(
                f"It has {len(self._data):,} bytes of plain values where its tensors take {count:,}."
            )

    def take(self, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        kind = np.dtype(DTYPES[dtype])
        count = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        part = np.frombuffer(self._data, np.uint8, count, self._place) if count else np.empty(0, np.uint8)
        self._place += count
        if dtype == "bool" and count and int(part.max()) > 1:
            raise FileFormatError("It has a truth value that is neither 0 nor 1.")
        bits = np.ascontiguousarray(part.reshape(kind.itemsize, -1).T)
        return bits.view(kind).reshape(shape).astype(kind.newbyteorder("="))


def _width(row: Row) -> int:
    """Bytes of a tensor among the plain values."""
    if row.kind == CODEBOOK:
        return 4 * row.centroids
    return row.size * np.dtype(DTYPES[row.dtype]).itemsize if row.kind == VALUES else 0


__all__ = ["Section", "is_coded", "read", "sizes", "tensors", "write"]
