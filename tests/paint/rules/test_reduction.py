"""Sums over space."""

from __future__ import annotations

from tests.paint.operators import halved, leaks


def test_a_sum_of_exponentials_over_space_leaves_no_zero() -> None:
    assert len(leaks(halved(lambda m, y: y.logcumsumexp(2)))) == 8
