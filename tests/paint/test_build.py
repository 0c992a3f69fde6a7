"""From paint to channels and groups."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.paint.nets import Net, channels, random_plan, randomised
from torch import Tensor, nn

import prunus

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def chain(*layers: nn.Module, head: nn.Module | None = None) -> nn.Module:
    return randomised(nn.Sequential(*layers, head if head is not None else nn.Identity()))


@pytest.mark.parametrize(
    "table",
    [lambda: torch.arange(6.0, dtype=torch.float64), lambda: torch.linspace(0, 1, 6, dtype=torch.float64)],
)
def test_what_no_parameter_makes_is_no_channel(table: Callable[[], Tensor]) -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        return m.c(m.a(x) + m.t(torch.cat([(x.mean() * table()).sin(), table().cos()])).relu()[:, None, None])

    model = randomised(Net(run, a=nn.Conv2d(3, 4, 1), t=nn.Linear(12, 4), c=nn.Conv2d(4, 2, 1)))
    graph = prunus.trace(model, IMAGE)
    assert channels(graph, "t.weight", 1) == [-1] * 12 and graph.num_channels == 4
    assert "made by no parameter" in {p.reason for p in graph.pinned}
    assert prunus.compact(model, random_plan(graph)).prunus.mode == "eager"


def test_channels_with_the_same_slots_are_one_group_and_names_are_distinct() -> None:
    model = chain(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 2, 1))
    graph = prunus.trace(model, IMAGE)
    assert [(group.name, group.size) for group in graph.groups] == [("0", 6), ("2", 4)]
    assert channels(graph, "0.weight") == channels(graph, "1.weight") == channels(graph, "2.weight", 1)
    assert set(channels(graph, "2.weight")).isdisjoint(channels(graph, "0.weight"))


def test_halves_of_one_layer_that_live_apart_are_two_groups() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        first, second = m.a(x).split([2, 4], 1)
        return m.b(first) + m.c(second)

    model = randomised(Net(run, a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(2, 2, 1), c=nn.Conv2d(4, 2, 1)))
    groups = prunus.trace(model, IMAGE).groups
    assert [(group.name, group.size) for group in groups] == [("a[0]", 2), ("a[1]", 4)]
