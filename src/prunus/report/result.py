"""The result of one run as plain data: what `result.json` holds, and how files are written without halves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prunus._foundation.atomic import write_atomically
from prunus._foundation.json_files import read_json
from prunus._foundation.kinds import ODD
from prunus._foundation.wording import given, short
from prunus.errors import FileFormatError, PrunusError, clause
from prunus.storage.lock import settle

# Raised when a key changes its meaning or goes away; new keys alone do not raise it.
SCHEMA = 1

# What every result has; the rest is there when it was measured.
REQUIRED = tuple("schema command created environment model target cost layers verification".split())


class Result(dict[str, Any]):
    """What a run returns: the plain data of its `result.json`, and the folder where that lies."""

    def __init__(self, data: Mapping[str, Any], folder: Path) -> None:
        super().__init__(data)
        self.folder = folder.absolute()


def check(result: Mapping[str, Any]) -> None:
    """Raise FileFormatError unless the result has this schema version and all its required parts."""
    if not isinstance(result, Mapping):
        raise FileFormatError(
            "A result is what a job of prunus.runs returns, or prunus.report.read reads from a result.json,"
            f" not {given(result)}."
        )
    if result.get("schema") != SCHEMA:
        raise FileFormatError(
            f"The result has schema {short(result.get('schema'))}; this version reads schema {SCHEMA}."
        )
    missing = [key for key in REQUIRED if key not in result]
    if missing:
        raise FileFormatError(f"The result lacks {', '.join(missing)}.")


def read(path: Path | str) -> dict[str, Any]:
    """Read a `result.json`.

    Raises:
        FileFormatError: no such file, not JSON, or not a result.
    """
    settle(Path(path).parent)
    result = read_json(path, "a result")
    try:
        check(result)
    except FileFormatError as error:
        raise FileFormatError(f"{path} cannot be read as a result: {clause(error)}.") from error
    return result


@contextmanager
def understood(record: str, purpose: str) -> Iterator[None]:
    """Around what makes something of a record, named as a sentence begins with it: anybody may have written
    it, so it may lack a field, or hold another kind of value.

    Raises FileFormatError, which says so; whatever has a name of its own comes through.
    """
    try:
        yield
    except PrunusError:
        raise
    except ODD as error:
        raise FileFormatError(
            f"{record} lacks what {purpose} needs ({type(error).__name__}: {clause(error)})."
        ) from error


def write_json(result: Mapping[str, Any], path: Path | str) -> None:
    """Write the result as readable JSON, atomically."""
    check(result)
    write_text(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path | str) -> None:
    """Write a file that is there as a whole or not at all."""
    # a path may hold bytes that are no text
    write_atomically(Path(path), text.encode(errors="backslashreplace"))
