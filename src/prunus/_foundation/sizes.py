"""How large an input may be, one limit for what users type and for what files say; and sizes in bytes."""

from __future__ import annotations

import re

from prunus.errors import ConfigError

MOST_AXES = 8
MOST_ELEMENTS = 2**28  # 1 GiB of float32; a picture of 8192 x 8192 has 3/4 of that


_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(|b|kb|mb|gb|kib|mib|gib)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def shape_fault(value: object) -> str:
    """What keeps a value from being the shape of an input, batch axis first, as the end of a sentence; ""
    where nothing does.
    """
    if not isinstance(value, (list, tuple)) or not all(type(length) is int for length in value):
        return "it must be a list of whole numbers, batch first"
    if not 2 <= len(value) <= MOST_AXES:
        return f"it must have from 2 to {MOST_AXES} axes, batch first"
    if min(value) < 1:
        return "every length must be at least 1"
    count = 1
    for length in value:
        count *= length
    return f"an input may have at most {MOST_ELEMENTS:,} elements" if count > MOST_ELEMENTS else ""


def parse_bytes(text: str) -> float | None:
    """Bytes out of 200kB, 1.5MB, 2MiB, 4000, or 0.1, a share; None for nothing. Raises ConfigError."""
    if not text:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None or not float(match[1]) > 0:
        raise ConfigError(f"{text!r} is no size; write 200kB, 1.5MB, 4000 (bytes), or 0.1 (a share).")
    return float(match[1]) * _UNITS[match[2].lower()]
