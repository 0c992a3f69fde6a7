"""How large an input may be: one limit for what users type and for what files say."""

from __future__ import annotations

MOST_AXES = 8
MOST_ELEMENTS = 2**28  # 1 GiB of float32; a picture of 8192 x 8192 has 3/4 of that


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
