"""Two grids in turn: places and integers say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prunus.coding.tensors import Grid, streamed, values_of, walks
from prunus.coding.trellis import NEXT, integers_of, places_of
from prunus.errors import FileFormatError


def slowly(places: NDArray[np.int32]) -> list[int]:
    """One after the other, as the specification has it."""
    found = []
    for row in places.reshape(len(places), -1).tolist():
        state = 0
        for place in row:
            sign = (place > 0) - (place < 0)
            found.append(2 * place - (sign if state % 2 else 0))
            state = NEXT[state][abs(place) % 2]
    return found


shapes = st.lists(st.integers(0, 6), min_size=2, max_size=4).map(tuple)


@given(shapes, st.integers(1, 24), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_places_come_back_from_their_integers(shape: tuple[int, ...], bits: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    places = draw.integers(-(1 << bits) + 1, 1 << bits, shape).astype(np.int32)
    integers = integers_of(places)
    assert integers.dtype == np.int32 and integers.shape == shape
    assert not integers.size or integers.ravel().tolist() == slowly(places)
    assert np.array_equal(places_of(integers), places)


def test_every_state_is_reached_by_two_ways_and_leads_to_two() -> None:
    reached = [following for pair in NEXT for following in pair]
    assert all(reached.count(state) == 2 for state in range(len(NEXT)))
    assert all(first != second for first, second in NEXT)


def test_integers_of_the_other_grid_are_refused() -> None:
    with pytest.raises(FileFormatError, match="not on the grid of its state"):
        places_of(np.array([[1, 0]], np.int32))
    with pytest.raises(FileFormatError, match="not on the grid of its state"):
        streamed(Grid(np.array([[2, 2, 2, 2]], np.int32), 1.0, trellis=True))


def test_values_are_those_of_the_integers() -> None:
    coded = Grid(integers_of(np.array([[1, 2], [-1, 1]], np.int32)), 0.5, trellis=True)
    assert values_of(coded).tolist() == [[1.0, 2.0], [-1.0, 1.0]] and walks(coded)
    assert not walks(Grid(coded.integers, 0.5))
