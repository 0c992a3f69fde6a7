"""Modules that only inputs of another size run are pruned with the rest, and the compact model runs them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import prunus


class BySize(nn.Module):
    """Large maps go through one convolution, small ones through another, in train mode all besides through a
    third; a head is run by nobody.
    """

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 3, padding=1)
        self.large, self.small = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.shift, self.aside = nn.BatchNorm2d(4), nn.Conv2d(6, 4, 1)
        self.head, self.unused = nn.Conv2d(4, 2, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(self.stem(x).relu()).relu()
        z = self.large(y) if y.shape[2] >= self.least else self.shift(self.small(y))
        z = z + self.aside(y) if self.training else z
        out: Tensor = self.head(z.relu()).mean((2, 3))
        return out


@pytest.mark.parametrize("side", [8, 16], ids=["traced small", "traced large"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_what_another_size_runs_is_pruned_with_the_rest(side: int, training: bool) -> None:
    """It was left at its old width in silence, so that the compact model failed at the other size."""
    torch.manual_seed(0)
    model = BySize(12).double().eval()
    graph = prunus.trace(model, torch.zeros(1, 3, side, side, dtype=torch.float64))
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    assert plan.exact
    small, masked = (one.train(training) for one in (prunus.compact(model, plan), prunus.mask(model, plan)))
    assert isinstance(small, BySize)
    widths = [one.out_channels for one in (small.stem, small.inner, small.large, small.small, small.aside)]
    assert widths == [4, 3, 2, 2, 2] and small.unused.in_channels == 8
    for length in (8, 11, 12, 16, 24):
        x = torch.randn(2, 3, length, length, dtype=torch.float64)
        torch.testing.assert_close(small(x), masked(x), rtol=1e-9, atol=1e-9)


class Shortcut(nn.Module):
    """On small maps two layers meet in a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.weighed, self.head = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x).relu()
        z = self.second(y)
        if x.shape[2] < 12:
            z = z + self.weighed(y) + y
        out: Tensor = self.head(z)
        return out


def test_what_meets_at_another_size_is_coupled() -> None:
    torch.manual_seed(0)
    model = Shortcut().double().eval()
    graph = prunus.trace(model, torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small, masked = prunus.compact(model, plan), prunus.mask(model, plan)
    for length in (8, 16):
        x = torch.randn(2, 3, length, length, dtype=torch.float64)
        torch.testing.assert_close(small(x), masked(x), rtol=1e-9, atol=1e-9)


def test_what_no_size_runs_holds_nothing() -> None:
    model = BySize(1).eval()  # small ones never come
    graph = prunus.trace(model, torch.zeros(1, 3, 16, 16))
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert small.inner.out_channels == 3 and small.small.in_channels == 6
