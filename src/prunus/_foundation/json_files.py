"""JSON: read within limits, so that a damaged or hostile file is one sentence and never a traceback; and
written so that everybody can read it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from prunus.errors import FileFormatError, clause

MOST_BYTES = 64 * 2**20  # what prunus writes is a thousandth of that
DEEPEST = 100  # levels of objects and lists


def read_json(path: Path | str, what: str) -> dict[str, Any]:
    """The one JSON object of a file: UTF-8, at most `MOST_BYTES` long and `DEEPEST` deep, every key once,
    every number finite.

    Args:
        path: the file.
        what: what it should be, with its article: "the record of a training".

    Raises:
        FileFormatError: there is no such file, or it is something else; the text names the file.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        return _object(content)
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be read as {what}: {clause(OSError(error.strerror or str(error)))}."
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else clause(error)
        raise FileFormatError(f"{path} cannot be read as {what}: {reason}.") from error


def to_json(data: Any, indent: int | None = None, *, ascii_only: bool = False) -> str:
    """Plain data as JSON; null stands for infinite numbers and what is no number, which JSON has not."""
    return json.dumps(_written(data), indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def _written(value: Any) -> Any:
    """The same data, None for every number that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _written(one) for key, one in value.items()}
    return [_written(one) for one in value] if isinstance(value, (list, tuple)) else value


def _object(content: bytes) -> dict[str, Any]:
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 2**20} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text (byte {error.start})") from error
    found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    check_depth(found)
    return found


def check_depth(value: Any) -> None:
    """Raises ValueError where objects and lists lie deeper in each other than `DEEPEST`."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        level = [
            child
            for one in level
            for child in (
                one.values() if isinstance(one, dict) else one if isinstance(one, (list, tuple)) else ()
            )
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has the key {key!r} twice")
        found[key] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds the number {text[:20]}, which is too large")
    return value
