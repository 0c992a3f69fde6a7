"""The numbers that the integer coder is made of: integers all, the same on every machine.

Probabilities have 16 bits. In between they are *stretched*: ln(p / (1 - p)) with 8 bits behind the point,
within ±`LIMIT`; `SQUASHED` leads back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# 65536 / (1 + exp(-x)), rounded, for x = -12, -11.5, ..., 12: written down, as exp differs between machines
KNOTS = (
    0, 1, 1, 2, 3, 5, 8, 13, 22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955,
    17625, 24743, 32768, 40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269,
    65374, 65438, 65476, 65500, 65514, 65523, 65528, 65531, 65533, 65534, 65535, 65535, 65536,
)  # fmt: skip
_BETWEEN = 128  # of stretched units from knot to knot
LIMIT = 24 * _BETWEEN - 1
MOST = 255  # how often a probability is updated before it changes no more slowly


def _squashed() -> NDArray[np.int64]:
    """Probabilities of the stretched -LIMIT, ..., LIMIT: straight lines between the knots."""
    place = np.arange(1, 48 * _BETWEEN)
    knots = np.array(KNOTS, dtype=np.int64)
    before, rest = place // _BETWEEN, place % _BETWEEN
    lines = knots[before] * (_BETWEEN - rest) + knots[before + 1] * rest
    found: NDArray[np.int64] = np.clip((lines + _BETWEEN // 2) // _BETWEEN, 1, 65535)
    return found


SQUASHED = _squashed()
# of the middles of 4096 equal parts of all probabilities: the first that squashes to as much
STRETCHED = np.clip(np.searchsorted(SQUASHED, np.arange(4096) * 16 + 8) - LIMIT, -LIMIT, LIMIT).astype(
    np.int64
)
RATES = np.array([655360 // (10 * n + 18) for n in range(MOST + 1)], dtype=np.int64)
TRUST = np.array([256 * n // (n + 2) for n in range(MOST + 1)], dtype=np.int64)

__all__ = ["KNOTS", "LIMIT", "MOST", "RATES", "SQUASHED", "STRETCHED", "TRUST"]
