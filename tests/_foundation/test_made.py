"""What objects were made with, as plain numbers and texts."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from prunus._foundation.made import begins, begun_by, described, first_difference, plain, remembers


@remembers("told")
class Part:
    def __init__(self, keep: float, rule: Any = None, told: Any = None) -> None:
        self.keep = keep


@remembers()
class Whole(Part):
    def __init__(self, drop: float) -> None:
        super().__init__(1 - drop)


class Own(Part):
    """Of a user's, who adds what nobody here knows."""


def test_an_object_remembers_what_it_was_made_with() -> None:
    assert described(Part(0.5, told=print)) == {"kind": "Part", "keep": 0.5, "rule": None}
    assert described(Whole(0.25)) == {"kind": "Whole", "drop": 0.25}
    own: Any = np.float32(0.5)
    assert described(Own(own)) == {"kind": "Own", "keep": 0.5, "rule": None}
    assert described(Part(1, rule=Part(2)))["rule"] == {"kind": "Part", "keep": 2, "rule": None}
    assert described(None) is None and described(3.0) == {"kind": "float"}
    with pytest.raises(TypeError, match="keep"):
        Part()  # type: ignore[call-arg]


def test_values_are_plain() -> None:
    assert plain((1, "a", None, {2: np.int64(3)})) == [1, "a", None, {"2": 3}]
    assert plain(partial(max, key=abs)) == {"kind": "max", "key": "abs"}
    assert plain(print) == "print" and plain(object()) == "object"
    assert plain(np.arange(3)) != plain(np.arange(1, 4)) and plain(np.arange(3)) == plain(np.arange(3))
    long = plain(list(range(1000)))
    assert long.startswith("1000 values ") and long != plain([*range(999), 0])


def test_the_first_difference_has_a_place() -> None:
    one: dict[str, Any] = {"kind": "A", "keep": 1, "of": {"kind": "B", "n": [1, 2]}}
    assert first_difference(one, one) is None
    assert first_difference(one, {**one, "keep": 2}) == ("keep", 1, 2)
    assert first_difference(one, {**one, "of": {"kind": "C"}}) == ("of", "B", "C")
    assert first_difference(one, {**one, "of": {"kind": "B", "n": [1]}}) == ("of.n", [1, 2], [1])
    assert first_difference(one, {**one, "of": None}) == ("of", "B", None)
    assert first_difference({}, one) == ("", None, "A")
    assert first_difference(one, {"kind": "A", "keep": 1, "new": 3}) is None


def test_the_first_method_counts() -> None:
    @begins
    def inner(rate: float) -> Any:
        return begun_by()

    @begins
    def outer(model: object, drop: float = 0.5, names: tuple[str, ...] = ("a",)) -> Any:
        return inner(rate=0.25)

    assert inner(0.75) == {"kind": "inner", "rate": 0.75}
    assert outer(object()) == {"kind": "outer", "drop": 0.5, "names": ["a"]}
    assert begun_by() is None
