"""What removed slots hold: one value for all, or one each, and the same answers either way."""

from __future__ import annotations

import linecache
import math

import numpy as np
import pytest

from prunus.paint.records import (
    Stripe,
    Values,
    Where,
    constant,
    is_zero,
    joined,
    plus,
    same_dead,
    uniform,
    without_place,
    zero_if_either,
    zero_or_unknown,
)

ROWS = {
    "zeros": constant(0.0, 3),
    "halves": constant(0.5, 3),
    "unknown": constant(math.nan, 3),
    "mixed": np.array([0.0, 0.5, math.nan]),
}


def each(row: Values) -> Values:
    """The same values, every one of its own."""
    return np.array(row.tolist())


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_one_value_answers_as_one_of_many(name: str) -> None:
    row = ROWS[name]
    assert is_zero(row) == is_zero(each(row)) == (name == "zeros")
    assert same_dead(zero_or_unknown(row), zero_or_unknown(each(row)))
    assert same_dead(zero_or_unknown(row), np.array([0.0 if v == 0 else math.nan for v in row.tolist()]))
    for other in ROWS.values():
        wanted = np.array([0.0 if 0 in pair else math.nan for pair in zip(row.tolist(), other.tolist())])
        assert same_dead(zero_if_either(row, other), wanted)
        assert same_dead(plus(row, other), each(row) + each(other))
        assert same_dead(joined([row, other]), np.concatenate([row, other]))


def test_one_value_stays_one_value() -> None:
    assert uniform(constant(0.5, 4)) == 0.5 and uniform(np.array([0.5, 0.5])) is None
    assert uniform(plus(ROWS["halves"], ROWS["halves"])) == 1.0
    assert uniform(joined([ROWS["zeros"], ROWS["zeros"]])) == 0.0
    assert constant(math.nan, 3) is constant(float("nan"), 3)  # kept, so that nothing is made twice


def test_slots_are_taken_with_what_they_hold() -> None:
    layer = Stripe(1, np.array([5, 6, 7]), ROWS["mixed"])
    taken = layer.take([2, 0], axis=3)
    assert (
        taken.axis == 3 and taken.labels.tolist() == [7, 5] and same_dead(taken.dead, np.array([math.nan, 0]))
    )
    assert layer.on(1) is layer and layer.on(0).axis == 0
    assert uniform(Stripe(1, np.arange(3), ROWS["halves"]).take([0]).dead) == 0.5


def test_a_line_is_shown_with_its_code() -> None:
    assert str(Where("", 3)) == "" and str(Where("/nowhere/net.py", 3)) == "net.py:3"
    line = next(n for n, text in enumerate(linecache.getlines(__file__), 1) if text.startswith("def each"))
    assert str(Where(__file__, line)) == f"test_records.py:{line}: def each(row: Values) -> Values:"


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("it draws (dropout, net.py:12: x = F.dropout(x, (0.3)))", "it draws (dropout)"),
        ("a softmax (aten._softmax, my (own) net.py:3)", "a softmax (aten._softmax)"),
        ("a row (of an embedding) (embedding, a.py:1: {1: 2})", "a row (of an embedding) (embedding)"),
        ("statistics (over fewer) channels", None),
        ("sizes (1, 3) stay", None),
    ],
)
def test_a_note_without_its_line(written: str, left: str | None) -> None:
    assert without_place(written) == (written if left is None else left)
