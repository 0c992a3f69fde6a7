"""How large an input may be, one limit for what users type and for what files say; what it is normalised by;
and sizes in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from prunus.errors import ConfigError

MOST_AXES = 8
MOST_ELEMENTS = 2**28  # 1 GiB of float32; a picture of 8192 x 8192 has 3/4 of that

HIGHEST_MEAN, HIGHEST_STD = 2.0, 4.0  # that anybody takes from pixels from 0 to 1, and divides them by

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


def levels_fault(mean: Sequence[float], std: Sequence[float]) -> str:
    """What is wrong with a mean and a deviation of pixels from 0 to 255, where 0..1 is meant; "" if nothing
    is.
    """
    if all(abs(one) <= HIGHEST_MEAN for one in mean) and all(one <= HIGHEST_STD for one in std):
        return ""
    meant = (", ".join(f"{one / 255:.3g}" for one in values) for values in (mean, std))
    return (
        "mean and deviation are of pixels from 0 to 1, not of levels from 0 to 255 (did you mean"
        f" {' and '.join(text for text in meant if text)}?)"
    )
