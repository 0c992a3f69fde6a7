"""Two grids in turn: which one an integer lies on follows from the parities of those before it in its row, so
that each needs half of the bits that tell neighbours apart, and the path through both is chosen for the whole
row.

Trellis-coded quantisation (Marcellin and Fischer 1990) in the form of "dependent quantization" (Schwarz et
al. 2021, "Quantization and Entropy Coding in the Versatile Video Coding (VVC) Standard", section III), with
eight states. On the first grid lie the even numbers, on the second zero and the odd ones; what is coded is
the place on the grid, and its parity says where the walk goes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prunus.errors import FileFormatError

NEXT = ((0, 2), (5, 7), (1, 3), (6, 4), (2, 0), (4, 6), (3, 1), (7, 5))  # state, for an even and an odd place
"""A walk starts at state 0, in every row anew; odd states are those of the second grid."""
STATES = len(NEXT)
_NEXT = np.array(NEXT)


def states_of(integers: NDArray[np.int32], start: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The state before every integer of (rows, columns), and that behind the last, (rows, columns + 1).

    Args:
        integers: of walks.
        start: the state before the first, (rows,); None = 0.
    """
    states = np.zeros((integers.shape[1] + 1, len(integers)), dtype=np.int64)
    if start is not None:
        states[0] = start
    for at, own in enumerate(integers.T):
        states[at + 1] = _NEXT[states[at], _places(own, states[at] & 1) & 1]
    return states.T


def _places(integers: NDArray[np.int32], second: NDArray[np.int64]) -> NDArray[np.int32]:
    found: NDArray[np.int32] = ((integers + second * np.sign(integers)) >> 1).astype(np.int32)
    return found


def places_of(integers: NDArray[np.int32]) -> NDArray[np.int32]:
    """The places of integers on the grids of their states; the first axis is that of rows.

    Raises FileFormatError where an integer lies on the other grid alone.
    """
    if not integers.size:
        return integers.copy()
    rows = integers.reshape(len(integers), -1)
    second = states_of(rows)[:, :-1] & 1
    if ((rows & 1) != second)[rows != 0].any():
        raise FileFormatError("An integer is not on the grid of its state.")
    return _places(rows, second).reshape(integers.shape)


def integers_of(places: NDArray[np.int32]) -> NDArray[np.int32]:
    """What `places_of` took: twice a place, on the second grid one less in magnitude."""
    if not places.size:
        return places.copy()
    rows = places.reshape(len(places), -1).T
    integers, state = np.empty_like(rows), np.zeros(rows.shape[1], dtype=np.int64)
    for own, found in zip(rows, integers):
        found[:] = 2 * own - (state & 1) * np.sign(own)
        state = _NEXT[state, own & 1]
    return np.ascontiguousarray(integers.T).reshape(places.shape)


__all__ = ["NEXT", "STATES", "integers_of", "places_of", "states_of"]
