"""JSON: read within limits, so that a damaged or hostile file is one sentence and never a traceback; and
written so that everybody can read it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from prunus._foundation.wording import printable
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
    written = changed(data, finite_or_none)
    return json.dumps(written, indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def finite_or_none(value: Any) -> Any:
    """A value, None for a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def changed(data: Any, change: Callable[[Any], Any], keys: bool = False) -> Any:
    """Plain data with whatever is neither an object nor a list changed; `keys`: names in objects too."""
    if isinstance(data, Mapping):
        return {change(key) if keys else key: changed(one, change, keys) for key, one in data.items()}
    return [changed(one, change, keys) for one in data] if isinstance(data, (list, tuple)) else change(data)


def all_printable(data: Any) -> Any:
    """Data of a file with every text in it `printable`, those that name others too."""
    return changed(data, lambda one: printable(one) if isinstance(one, str) else one, keys=True)


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
