"""What a forward returns again once channels are gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.paint.nets import Net, difference, randomised
from torch import Tensor, nn

import prunus
from prunus.errors import TraceError
from prunus.surgery.again import inputs_now, returned_otherwise

IMAGE = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Forward = Callable[[Any, Tensor], Any]


def picked(m: Any, x: Tensor) -> Any:
    y = m.first(x).relu()
    a, b = m.a(y), m.b(y)
    return a if y.shape[1] == 8 else b


def ordered(m: Any, x: Tensor) -> Any:
    y = m.first(x).relu()
    a, b = m.a(y), m.b(y)
    return (a, b) if y.shape[1] == 8 else (b, a)


def counted(m: Any, x: Tensor) -> Any:
    y = m.first(x).relu()
    return {"out": m.a(y) + m.b(y), "width": y.shape[1], "text": f"{y.shape[1]} planes"}


def timed(m: Any, x: Tensor) -> Any:
    y = m.first(x).relu()
    return m.a(y) + m.b(y), time.perf_counter_ns()


def net(forward: Forward) -> nn.Module:
    layers = {"first": nn.Conv2d(3, 8, 1), "a": nn.Conv2d(8, 4, 1), "b": nn.Conv2d(8, 4, 1)}
    return randomised(Net(forward, **layers))


def compacted(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    graph = prunus.trace(model, IMAGE)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert plan.exact and small.prunus.plan.removed == plan.removed
    return prunus.mask(model, plan), small


@pytest.mark.parametrize("forward", [picked, ordered])
def test_what_is_returned_does_not_hang_on_a_width(forward: Forward) -> None:
    """The same operators, and another of their results: compact called it a defect of its own."""
    masked, small = compacted(net(forward))
    assert difference(masked, small, IMAGE) < 1e-12 and small.prunus.mode == "traced"


def test_numbers_that_are_returned_stay() -> None:
    masked, small = compacted(net(counted))
    assert {key: masked(IMAGE)[key] for key in ("width", "text")} == {"width": 8, "text": "8 planes"}
    assert {key: small(IMAGE)[key] for key in ("width", "text")} == {"width": 8, "text": "8 planes"}


def test_what_a_clock_says_is_no_number_of_the_network() -> None:
    assert compacted(net(timed))[1].prunus.mode == "eager"


def test_where_something_else_is_returned() -> None:
    graph = prunus.trace(net(ordered), IMAGE)
    made = {id(tensor): (index, 0) for index, one in enumerate(graph.records) for tensor in one.outputs}
    first, second = graph.returned
    assert returned_otherwise(graph, [first, second], made) is None
    assert returned_otherwise(graph, [second, first], made) == made[id(first)][0]
    assert returned_otherwise(graph, [first], made) == len(graph.records) - 1
    assert inputs_now(graph)[0][0].dtype == torch.float64


def caught(m: Any, x: Tensor) -> Any:
    y = m.first(x).relu()
    try:
        large = bool(y.max() > 1)
    except Exception:
        large = False
    return m.a(y.tanh() if large else y) + m.b(y)


def test_a_forward_cannot_catch_what_stops_a_trace() -> None:
    """It was painted as if the value had been too large, or too small, on every input."""
    with pytest.raises(TraceError, match=r"reads the value of a tensor at test_again\.py"):
        prunus.trace(net(caught), IMAGE)


def shaped(m: Any, x: Tensor) -> Any:
    y = m.first(x).relu()
    try:
        y = y.view(-1, 8, *y.shape[2:]).tanh()
    except Exception:
        y = y * 2
    return m.a(y) + m.b(y)


def test_a_forward_cannot_catch_that_it_does_something_else() -> None:
    masked, small = compacted(net(shaped))
    assert difference(masked, small, IMAGE) < 1e-12 and small.prunus.mode == "traced"
