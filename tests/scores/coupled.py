"""A small network with coupled and grouped channels, and its channels slot by slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from tests.paint.nets import Net, randomised
from torch import Tensor, nn

from prunus.paint.graph import ChannelGraph

IMAGE = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 1, 0])
REDUCES: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "mean": lambda v: sum(v) / len(v),
    "max": max,
}


def residual(m: nn.Module, x: Tensor) -> Tensor:
    """Channels of a and b are coupled, c is grouped, d reads them flattened."""
    x = m.bn(m.a(x))
    x = m.c((m.b(x.relu()) + x).relu()).relu()
    return m.d(F.adaptive_avg_pool2d(x, 2).flatten(1))


def model() -> nn.Module:
    return randomised(
        Net(
            residual,
            a=nn.Conv2d(3, 6, 3),
            bn=nn.BatchNorm2d(6),
            b=nn.Conv2d(6, 6, 3, padding=1),
            c=nn.Conv2d(6, 8, 1, groups=2),
            d=nn.Linear(32, 2),
        )
    )


def slots(graph: ChannelGraph, least_dims: int = 2) -> Iterator[tuple[int, str, int, Tensor, bool]]:
    """Every slot of every prunable axis: channel, parameter, axis, the numbers of that slot, whether it makes
    the channel.
    """
    parameters = dict(graph.model.named_parameters())
    for axis in graph.axes:
        if axis.name in parameters and parameters[axis.name].dim() >= least_dims:
            for i, channel in enumerate(axis.channels.tolist()):
                if channel >= 0:
                    yield (
                        channel,
                        axis.name,
                        axis.dim,
                        parameters[axis.name].detach().select(axis.dim, i),
                        axis.produces,
                    )


def combine(graph: ChannelGraph, found: list[tuple[int, float]], reduce: str) -> Tensor:
    values: dict[int, list[float]] = {}
    for channel, value in found:
        values.setdefault(channel, []).append(value)
    return torch.tensor([REDUCES[reduce](values[c]) for c in range(graph.num_channels)], dtype=torch.float64)


def firsts(graph: ChannelGraph) -> dict[int, tuple[str, int]]:
    found: dict[int, tuple[str, int]] = {}
    for channel, name, dim, _, makes in slots(graph):
        if makes:
            found.setdefault(channel, (name, dim))
    return found
