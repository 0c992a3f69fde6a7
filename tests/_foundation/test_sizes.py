"""Shapes that a file may say."""

from __future__ import annotations

from prunus._foundation.sizes import MOST_ELEMENTS, shape_fault


def test_shapes_of_inputs() -> None:
    for good in ([1, 3, 32, 32], (1, 2), [1, MOST_ELEMENTS]):
        assert shape_fault(good) == ""
    for bad in (
        [1],
        [1] * 9,
        [1, 0],
        [1, -1],
        [1, 2.0],
        [1, True],
        "12",
        None,
        [1, [2]],
        [1, MOST_ELEMENTS + 1],
        [10**9] * 8,
    ):
        assert shape_fault(bad)
