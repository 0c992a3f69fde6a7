"""The documents inside the package's files, and how somebody who changes one makes its checksum fit."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import struct
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
