from __future__ import annotations

import math

import numpy as np

from prunus.coding.tables import KNOTS, LIMIT, RATES, SQUASHED, STRETCHED, TRUST


def test_knots_are_the_logistic_function() -> None:
    assert [round(65536 / (1 + math.exp(-place / 2))) for place in range(-24, 25)] == list(KNOTS)


def test_between_the_knots_are_straight_lines() -> None:
    for place in range(-LIMIT, LIMIT + 1, 37):
        knot, rest = divmod(place + LIMIT + 1, 128)
        line = (KNOTS[knot] * (128 - rest) + KNOTS[knot + 1] * rest + 64) // 128
        assert SQUASHED[place + LIMIT] == min(max(line, 1), 65535)
        assert abs(line - 65536 / (1 + math.exp(-place / 256))) < 0.004 * 65536


def test_stretching_is_the_way_back() -> None:
    chances = np.arange(4096) * 16 + 8
    inside = slice(4, -4)  # at both ends the limit is reached
    assert np.all(SQUASHED[STRETCHED + LIMIT][inside] >= chances[inside])
    assert np.all(SQUASHED[STRETCHED + LIMIT - 1][inside] < chances[inside])
    assert np.all(np.diff(STRETCHED) >= 0)


def test_rates_fall_and_trust_rises_with_what_was_seen() -> None:
    assert RATES[0] == 65536 * 10 // 18
    assert np.all(np.diff(RATES) <= 0)
    assert TRUST[0] == 0
    assert TRUST[2] == 128
    assert np.all(np.diff(TRUST) >= 0)
