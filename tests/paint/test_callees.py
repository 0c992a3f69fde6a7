"""Which functions a function may call."""

from __future__ import annotations

import math
from functools import partial, wraps
from types import ModuleType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from prunus.paint.callees import callees, functions_of


def leaf(x: Tensor) -> Tensor:
    return x


def other(x: Tensor) -> Tensor:
    return x


class Holder:
    def leaf(self, x: Tensor) -> Tensor:
        return x

    def other(self, x: Tensor) -> Tensor:
        return x


@wraps(leaf)
def wrapped(x: Tensor) -> Tensor:
    return x


def called_by(function: Any) -> set[Any]:
    return set(callees(function))


ELSEWHERE: Any = ModuleType("elsewhere")
ELSEWHERE.leaf, ELSEWHERE.other = leaf, other
ELSEWHERE.again = ELSEWHERE
HOLDER, TABLE = Holder(), {"a": [partial(leaf), 3, "text"], "b": nn.ReLU()}


def test_callees_are_those_that_are_named() -> None:
    def direct(x: Tensor) -> Any:
        return leaf(x) + math.pi + F.relu(x)

    def by_module(x: Tensor) -> Any:
        return ELSEWHERE.leaf(x)

    def by_object(x: Tensor) -> Any:
        return HOLDER.leaf(x)

    def by_table(x: Tensor) -> Any:
        return TABLE["a"][0](x)  # type: ignore[index]

    def by_closure(x: Tensor) -> Any:
        return direct(x)

    for one in (direct, by_module, by_table):
        assert called_by(one) == {leaf}
    assert called_by(by_object) == {leaf, Holder.leaf}  # `leaf` is the name of a function here, too
    assert called_by(by_closure) == {direct}


def test_what_holds_itself_is_left() -> None:
    def endless(x: Tensor) -> Any:
        return ELSEWHERE.again.again.leaf(x)

    loop: list[Any] = [other]
    loop.append(loop)
    assert called_by(endless) == {leaf}
    assert set(functions_of(loop, set())) == {other}


def test_decorated_functions_are_those_inside() -> None:
    assert [*functions_of(wrapped, set())] == [leaf]
