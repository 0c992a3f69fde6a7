"""Functions that remember their results, and checks of values: a trace neither reads the one nor stops at
the other.
"""

from __future__ import annotations

import types
from functools import cache, lru_cache, wraps
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunus


@cache
def grid(height: int, width: int) -> Tensor:
    """Positions of an image; the device is not asked for, so a trace must not leave a meta tensor here."""
    return torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width) / 7


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

    def positions(self, height: int, width: int) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).relu() * self.positions(*x.shape[2:]))


class OfTheFile(Base):
    def positions(self, height: int, width: int) -> Tensor:
        return grid(height, width)


class OfTheClass(Base):
    @staticmethod
    @lru_cache(maxsize=4)
    def made(height: int, width: int) -> Tensor:
        return torch.ones(height, width).cumsum(1)

    @lru_cache(maxsize=4)  # noqa: B019 (what users write)
    def positions(self, height: int, width: int) -> Tensor:
        return self.made(height, width)


def remembered(function: Any) -> Any:
    """As networks of transformers do it: a function around the memory, which is skipped while compiling."""
    kept = lru_cache(maxsize=4)(function)

    @wraps(function)
    def call(*args: Any) -> Any:
        return kept(*args)

    return call


class OfTheDecorator(Base):
    @staticmethod
    @remembered
    def made(height: int, width: int) -> Tensor:
        return torch.ones(height, width).cumsum(1)

    def positions(self, height: int, width: int) -> Tensor:
        return self.made(height, width)


class OfTheObject(Base):
    """As networks of transformers do: the memory is made when it is first needed, around a method."""

    def _made(self, height: int, width: int) -> Tensor:
        return torch.ones(height, width).cumsum(0) + self.two.weight.shape[0]

    def positions(self, height: int, width: int) -> Tensor:
        if not hasattr(self, "remembered"):
            self.remembered = lru_cache(maxsize=8)(self._made)
        return self.remembered(height, width)


@pytest.mark.parametrize("kind", [OfTheFile, OfTheClass, OfTheDecorator, OfTheObject])
@pytest.mark.parametrize("ran", [False, True])
def test_what_a_function_remembers_is_no_part_of_a_trace(kind: type[Base], ran: bool) -> None:
    torch.manual_seed(0)
    grid.cache_clear()
    model, x = kind().eval(), torch.randn(2, 3, 6, 6)
    if ran:
        model(x)
    graph = prunus.trace(model, x)
    assert kind is not OfTheFile or grid.cache_info().currsize == int(ran)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and plan.removed == 4
    for size in (6, 9):
        y = torch.randn(2, 3, size, size)
        torch.testing.assert_close(small(y), prunus.mask(model, plan)(y))
        assert not model(y).is_meta
    held: Any = vars(small).get("remembered")
    method = None if held is None else held.__wrapped__
    assert method is None or (isinstance(method, types.MethodType) and method.__self__ is small)


class Checked(Base):
    def positions(self, height: int, width: int) -> Tensor:
        return torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(x).relu()
        torch._check_tensor_all(hidden >= 0, lambda: "negative")
        torch._check_tensor_all(x.abs().sum() < 1e9)
        return self.two(hidden)


def test_checks_of_values_are_taken_to_hold() -> None:
    model, x = Checked().eval(), torch.randn(2, 3, 6, 6)
    graph = prunus.trace(model, x)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert plan.removed == 4 and small.prunus.mode == "eager"
    with pytest.raises(RuntimeError):
        small(torch.full((1, 3, 6, 6), 1e9))
