"""One operator between two convolutions: how many channels go, whether masked and compact agree, and how the
compact module is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tests.paint.nets import randomised
from torch import Tensor, nn

import prunus
from prunus.paint.graph import ChannelGraph

Run = Callable[["Between", Tensor], Tensor]
WIDTH = 8


class Between(nn.Module):
    """convolution, norm, relu -> (N, 8, size, size) -> what is tested -> convolution. `parts` are modules,
    parameters and buffers of its own.
    """

    def __init__(self, run: Run, parts: dict[str, nn.Module | Tensor]) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.last = nn.Conv2d(WIDTH, 4, 3, padding=1)
        self.run = run
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.run(self, self.first(x)))


class Result(NamedTuple):
    """What became of half of the channels of a network."""

    graph: ChannelGraph
    asked: int
    removed: int
    exact: bool
    error: float
    mode: str
    notes: str


def leaks(result: Result) -> NDArray[np.float64]:
    """What the last convolution reads of removed channels, NaN where that is no known constant; nothing where
    they are zero.
    """
    dead = [layer.dead for layer in result.graph.records[-1].inputs[0] if layer.axis == 1]
    return dead[0][dead[0] != 0]


def halved(run: Run, size: int = 8, /, **parts: nn.Module | Tensor) -> Result:
    """Remove half of the channels. Asserts that the compact module computes what the masked one computes,
    wherever the plan is called exact.
    """
    torch.manual_seed(0)
    model, x = randomised(Between(run, parts)), torch.randn(2, 3, size, size, dtype=torch.float64)
    graph = prunus.trace(model, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
        small = prunus.compact(model, plan)
    origin = small.prunus
    with torch.no_grad():
        masked, compact = prunus.mask(model, origin.plan)(x), small(x)
    error = float((masked - compact).abs().max() / masked.abs().max())
    assert masked.isfinite().all()
    assert not origin.plan.exact or error < 1e-10, error
    return Result(
        graph,
        plan.removed,
        origin.plan.removed,
        origin.plan.exact,
        error,
        origin.mode,
        " ".join(origin.plan.notes),
    )


def goes(run: Run, size: int = 8, /, **parts: nn.Module | Tensor) -> Result:
    """`halved`, where all that was asked for goes: half of the channels in front, at least."""
    result = halved(run, size, **parts)
    assert result.removed == result.asked >= WIDTH // 2, (result.removed, result.asked, result.graph.pinned)
    return result


def goes_exactly(run: Run, size: int = 8, /, **parts: nn.Module | Tensor) -> Result:
    """`goes`, and the plan is exact."""
    result = goes(run, size, **parts)
    assert result.exact, result.notes
    return result
