"""Files made wrong, the same for the same seed: bytes at random, and the edits of somebody who knows the
format and makes checksums fit.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any, Literal

Change = Callable[[bytes, Random], bytes]
Parts = Callable[[bytes], tuple[Any, Callable[[Any], bytes]]]
"""Content -> the JSON document in it, and a function from a document to content."""

NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**40,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "../../x", "a\0b", "\ud800", "self", "1", [], {}, [[]], {"a": 1}, ["x"], [None]),
)
DEEP, LONG = "deep deep", "long long"  # placeholders: neither can be written by `json` itself
_DEEP_TEXT, _LONG_TEXT = "[" * 100_000 + "]" * 100_000, "9" * 5_000


def flipped(content: bytes, rng: Random) -> bytes:
    """Some bits."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwritten(content: bytes, rng: Random) -> bytes:
    """Some bytes, by others."""
    place, length = _place(content, rng), rng.choice((1, 2, 4, 16, 100))
    fill = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80", None))
    return (
        content[:place]
        + (rng.randbytes(length) if fill is None else fill * length)
        + content[place + length :]
    )


def truncated(content: bytes, rng: Random) -> bytes:
    """The end is missing."""
    return content[
        : rng.choice((_place(content, rng), max(0, len(content) - rng.randint(1, 16)), rng.randint(0, 40)))
    ]


def inserted(content: bytes, rng: Random) -> bytes:
    """Something more somewhere, or at the end."""
    place = rng.choice((_place(content, rng), len(content), 0))
    return (
        content[:place]
        + rng.choice((rng.randbytes(rng.randint(1, 64)), bytes(rng.randint(1, 4096))))
        + content[place:]
    )


def deleted(content: bytes, rng: Random) -> bytes:
    """Something is missing in the middle."""
    place = _place(content, rng)
    return content[:place] + content[place + rng.choice((1, 2, 4, 8, 100)) :]


def spliced(content: bytes, rng: Random) -> bytes:
    """A piece in the place of another."""
    start, to, length = _place(content, rng), _place(content, rng), rng.choice((1, 8, 64, 512))
    return content[:to] + content[start : start + length] + content[to + length :]


def numbered(content: bytes, rng: Random) -> bytes:
    """A length, size or offset is another; most are at the beginning."""
    size = rng.choice((1, 2, 4, 8))
    order: Literal["little", "big"] = rng.choice(("little", "big"))
    place = rng.choice((rng.randint(0, 64), _place(content, rng)))
    number = rng.choice((*NUMBERS, rng.getrandbits(64))) & (1 << 8 * size) - 1
    return content[:place] + number.to_bytes(size, order) + content[place + size :]


def replaced(content: bytes, rng: Random) -> bytes:
    """Something else altogether."""
    return rng.choice(
        (
            b"",
            b"\0",
            rng.randbytes(100),
            b"[" * 10_000,
            b"PK\x03\x04",
            b"\x80\x04N.",
            bytes(4096),
            b"<html>404</html>",
        )
    )


GENERAL: dict[str, Change] = {
    change.__name__: change
    for change in (flipped, overwritten, truncated, inserted, deleted, spliced, numbered, replaced)
}


def _place(content: bytes, rng: Random) -> int:
    return rng.randrange(len(content) + 1)


def any_of(content: bytes, rng: Random) -> bytes:
    """One of the general changes."""
    return GENERAL[rng.choice(sorted(GENERAL))](content, rng)


def gzipped(content: bytes, rng: Random) -> bytes:
    """What is packed is changed, and packed again, with a checksum that fits."""
    return gzip.compress(any_of(gzip.decompress(content), rng), 6, mtime=0)


def png_chunks(content: bytes, rng: Random) -> bytes:
    """A chunk is changed, and its checksum made to fit."""
    chunks, place = [], 8
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    which = rng.randrange(len(chunks))
    kind, data = chunks[which]
    chunks[which] = (
        rng.choice((kind, kind, kind, b"zTXt", b"iCCP", b"eXIf", b"acTL", b"PLTE")),
        any_of(data, rng),
    )
    if rng.random() < 0.2:
        chunks.insert(rng.randrange(len(chunks)), chunks[rng.randrange(len(chunks))])
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return content[:8] + b"".join(written)


def coded_sections(content: bytes, rng: Random) -> bytes:
    """What a section of a coded network says is changed, or a section doubled or taken out, with a checksum
    that fits.
    """
    from tests.fuzz.parts import coded, coded_again

    sections = coded(content)
    which = rng.randrange(len(sections))
    kind, says = sections[which]
    action = rng.random()
    if action < 0.8:
        sections[which] = kind, any_of(says, rng)
    elif action < 0.9:
        sections.insert(rng.randrange(len(sections)), (rng.choice((kind, rng.randrange(128))), says))
    else:
        del sections[which]
    return coded_again(sections)


def coded_table(content: bytes, rng: Random) -> bytes:
    """A byte or two of what a coded network says of its build and its tensors: small changes go farthest."""
    from tests.fuzz.parts import coded, coded_again

    sections = coded(content)
    which = rng.randrange(2)
    changed = bytearray(sections[which][1])
    for _ in range(rng.choice((1, 1, 2, 4))):
        changed[rng.randrange(len(changed))] = rng.choice((rng.randrange(256), 0, 127, 128, 255))
    sections[which] = sections[which][0], bytes(changed)
    return coded_again(sections)


def in_document(parts: Parts) -> Change:
    """One to three values of the document, with checksums that fit."""

    def change(content: bytes, rng: Random) -> bytes:
        document, rebuilt = parts(content)
        for _ in range(rng.choice((1, 1, 2, 3))):
            document = edited(document, rng)
        return rebuilt(document)

    return change


def edited(document: Any, rng: Random) -> Any:
    """A document with one value changed, taken away, doubled, renamed or exchanged; JSON inside texts is
    edited too.
    """
    places = list(_places(document))
    if not places:
        return rng.choice(VALUES)
    holder, key = rng.choice(places)
    value, action = holder[key], rng.randrange(7)
    if (
        isinstance(value, str)
        and value[:2] in ('{"', "[{", "[1", "[[")
        and value[-1:] in "]}"
        and rng.random() < 0.7
    ):
        holder[key] = written(edited(json.loads(value), rng)).decode("utf-8", "surrogatepass")
    elif action == 0:
        del holder[key]
    elif action == 1 and isinstance(holder, dict):
        holder[rng.choice(("x", "", "schema", f"{key}x"))] = holder.pop(key)
    elif action == 2 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), value)
    elif action == 3:
        other, place = rng.choice(places)
        if place in other if isinstance(other, dict) else place < len(other):
            holder[key] = other[place] if _is_plain(other[place]) else None
    elif action == 4 and type(value) in (int, float):
        holder[key] = rng.choice(
            (value + 1, value - 1, -value, value * 10, str(value), float(value) if abs(value) < 1e300 else 0)
        )
    else:
        holder[key] = rng.choice((*VALUES, DEEP, LONG, _nested(500)))
    return document


def written(document: Any) -> bytes:
    """JSON, with the placeholders filled in."""
    text = json.dumps(document)
    return (
        text.replace(f'"{DEEP}"', _DEEP_TEXT)
        .replace(f'"{LONG}"', _LONG_TEXT)
        .encode("utf-8", "surrogatepass")
    )


def _places(node: Any) -> Any:
    """Every (holder, key) of a document."""
    for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        yield from _places(node[key])


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found
