"""The documents inside the package's files, and how somebody who changes one makes its checksum fit."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from tests.fuzz.mutations import DEEP, LONG, written

CHECKSUM = "sha256"


def plain(content: bytes) -> tuple[Any, Callable[[Any], bytes]]:
    """A JSON file; with a checksum over its other entries, if it has one."""
    return json.loads(content), lambda document: written(_signed(document, lambda rest: _json_digest(rest)))


def metadata(key: str) -> Callable[[bytes], tuple[Any, Callable[[Any], bytes]]]:
    """The JSON text under a key of a safetensors file's header, with its checksum over
    that and all tensors.
    """

    def parts(content: bytes) -> tuple[Any, Callable[[Any], bytes]]:
        header, tensors = _header(content), from_bytes(content)

        def rebuilt(document: Any) -> bytes:
            signed = _signed(document, lambda rest: _digest()(tensors, rest))
            return to_bytes(tensors, metadata={key: written(signed).decode("utf-8", "replace")})

        return json.loads(header["__metadata__"][key]), rebuilt

    return parts


def outer(content: bytes) -> tuple[Any, Callable[[Any], bytes]]:
    """The header of a safetensors file: names, shapes and offsets."""
    (length,) = struct.unpack("<Q", content[:8])

    def rebuilt(document: Any) -> bytes:
        text = written(document)
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return _header(content), rebuilt


def coded(content: bytes) -> list[tuple[int, bytes]]:
    """Kind and content of every section of a coded network, in order, inflated."""
    from prunus.coding.container import read

    return [(section.kind, section.content) for section in read(content).values()]


def coded_again(sections: list[tuple[int, bytes]]) -> bytes:
    """The coded network of sections, with a checksum that fits; all are deflated but the integers."""
    from prunus.coding.deflation import deflated
    from prunus.coding.fields import number

    parts = []
    for kind, says in sections:
        body = says if kind == 3 else deflated(says)
        parts.append(bytes([kind if kind == 3 else kind | 128]) + number(len(body)) + body)
    rest = b"".join(parts)
    return b"PRN\x01" + zlib.crc32(rest).to_bytes(4, "little") + rest


def coded_document(content: bytes) -> tuple[Any, Callable[[Any], bytes]]:
    """The traced graph in a coded network."""
    sections = coded(content)
    (kind, says), start = sections[0], sections[0][1].index(b"{")

    def rebuilt(document: Any) -> bytes:
        return coded_again([(kind, says[:start] + written(document)), *sections[1:]])

    return json.loads(says[start:]), rebuilt


def _header(content: bytes) -> Any:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


def _signed(document: Any, digest: Callable[[Any], str]) -> Any:
    if not isinstance(document, dict) or CHECKSUM not in document:
        return document
    rest = {key: value for key, value in document.items() if key != CHECKSUM}
    if any(mark in json.dumps(rest) for mark in (DEEP, LONG)):
        return document  # nobody can compute it
    return rest | {CHECKSUM: digest(rest)}


def _json_digest(rest: Any) -> str:
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _digest() -> Callable[[Any, Any], str]:
    """The package's own checksum of tensors and header."""
    inside = importlib.util.find_spec("prunus.storage.digest") is None
    found: Callable[[Any, Any], str] = (
        importlib.import_module("prunus.storage.file")._digest
        if inside
        else importlib.import_module("prunus.storage.digest").digest
    )
    return found
