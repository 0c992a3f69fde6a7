"""Sizes that a forward hard-codes follow, wherever the module or a child of it keeps them; what cannot follow
keeps its own channels alone.
"""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import difference, randomised
from torch import Tensor, nn

import prunus
from prunus.surgery.sizes import _rebound

IMAGE = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class PaddedShortcut(nn.Module):
    """The shortcut lacks planes, which zeros make up for: their number is that of planes minus that of what
    is there, and no length of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.planes = 20
        self.stem, self.body, self.last = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Conv2d(6, 20, 3, padding=1),
            nn.Conv2d(20, 4, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        zeros = torch.zeros(
            len(x), self.planes - x.shape[1], *x.shape[2:], dtype=x.dtype, device=x.device
        ).detach()
        return self.last(self.body(x) + torch.cat([x, zeros], 1))


def test_zeros_that_make_up_for_planes_follow() -> None:
    model = randomised(PaddedShortcut())
    graph = prunus.trace(model, IMAGE)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert (
        small.prunus.mode == "eager"
        and small.prunus.plan == plan
        and small.planes == small.body.weight.shape[0] == 10
    )
    assert difference(prunus.mask(model, plan), small, IMAGE) < 1e-9


class State(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.cell = width, nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x).tanh()


class AskingChild(nn.Module):
    """The parent asks a child for a size, as optical flow networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.state, self.last = nn.Conv2d(3, 14, 3, padding=1), State(8), nn.Conv2d(14, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.encoder(x)
        first, second = torch.split(y, [self.state.width, y.shape[1] - self.state.width], 1)
        return self.last(torch.cat([self.state(first.relu()), second], 1))


def test_a_size_that_the_parent_asks_a_child_for_follows() -> None:
    model = randomised(AskingChild())
    graph = prunus.trace(model, IMAGE)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and small.prunus.plan == plan and small.state.width == 4
    assert difference(prunus.mask(model, plan), small, IMAGE) < 1e-9


class Correlation(nn.Module):
    """Features are multiplied with themselves and divided by the root of their number, which nothing in front
    can make up for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.features, self.last = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 12, 1),
            nn.Conv2d(64, 4, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(self.stem(x).relu()).flatten(2)
        correlation = (y.transpose(1, 2) @ y) / y.shape[1] ** 0.5
        return self.last(correlation.unflatten(2, x.shape[2:]))


def test_channels_whose_number_a_product_is_divided_by_stay_and_the_others_go() -> None:
    model = randomised(Correlation())
    graph = prunus.trace(model, IMAGE)
    with pytest.warns(UserWarning, match=r"6 of 10 channels stay, .*y\.shape\[1\] \*\* 0\.5"):
        small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5), prefer="eager")
    assert small.stem.weight.shape[0] == 4 and small.features.weight.shape == (12, 4, 1, 1)
    assert difference(prunus.mask(model, small.prunus.plan), small, IMAGE) < 1e-9


def test_a_side_that_is_not_padded_stands_for_no_attribute() -> None:
    """Padding before and after an axis are lengths too; where one of them is 0, no attribute is a part or
    multiple of it.
    """
    assert _rebound(4, [(0, 0), (8, 4)]) == 2
    assert _rebound(4, [(0, 0)]) == 4
