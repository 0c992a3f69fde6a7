"""From numbers per slot to one number per channel: a channel owns slots of many parameters, and the caller says how they are combined."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..channels.graph import Axis, ChannelGraph
from ..channels.twin import named_tensors
from ..errors import PlanError

Reduce = Literal["sum", "mean", "max", "producer"]
SlotScore = Callable[[Tensor], Tensor]


def weight_axes(graph: ChannelGraph) -> list[Axis]:
    """Axes of weights (two or more dimensions) that hold prunable slots: filters, and the input slices that read them."""
    shapes = {name: t.dim() for name, t in named_tensors(graph.model).items()}
    return [axis for axis in graph.axes if axis.is_parameter and shapes[axis.name] > 1 and (axis.channels >= 0).any()]


def per_channel(
    graph: ChannelGraph,
    axes: Iterable[Axis],
    slot_score: SlotScore,
    reduce: Reduce,
    tensors: dict[str, Tensor] | None = None,
) -> Tensor:
    """Score every slot of the given axes and combine per channel.

    Args:
        graph: a traced model.
        axes: which axes to look at.
        slot_score: matrix (slots, numbers of that slot) -> scores (slots,).
        reduce: "sum", "mean" or "max" over all slots of a channel, or "producer": the first axis that makes the channel, alone (summed over
            its slots).
        tensors: parameters by name to use instead of the model's own.

    Returns:
        float64 scores, shape (num_channels,); channels without any slot in `axes` get 0.
    """
    tensors = tensors if tensors is not None else named_tensors(graph.model)
    count = graph.num_channels
    chosen = [axis for axis in axes if axis.produces] if reduce == "producer" else list(axes)
    first = _first_producer(chosen) if reduce == "producer" else None
    if reduce not in ("sum", "mean", "max", "producer"):
        raise PlanError(f"reduce must be 'sum', 'mean', 'max' or 'producer', not {reduce!r}")
    total = torch.full((count,), -torch.inf if reduce == "max" else 0.0, dtype=torch.float64)
    slots = torch.zeros(count, dtype=torch.float64)
    for axis in chosen:
        values = slot_score(as_rows(tensors[axis.name], axis.dim)).to("cpu", torch.float64)
        free = torch.from_numpy(np.flatnonzero(_mine(axis, first)))
        channels = torch.from_numpy(axis.channels)[free]
        if reduce == "max":
            total = total.scatter_reduce(0, channels, values[free], "amax", include_self=True)
        else:
            total.index_add_(0, channels, values[free])
        slots.index_add_(0, channels, torch.ones(len(free), dtype=torch.float64))
    total[slots == 0] = 0.0
    return total / slots.clamp(min=1) if reduce == "mean" else total


def as_rows(tensor: Tensor, axis: int) -> Tensor:
    """One row per slot of an axis, shape (slots, rest)."""
    rows = tensor.detach().movedim(axis, 0)
    return rows.reshape(rows.shape[0], -1)


def wide(rows: Tensor) -> Tensor:
    """At least single precision, for sums over many numbers."""
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


def _mine(axis: Axis, first: dict[int, tuple[str, int]] | None) -> NDArray[np.bool_]:
    """Which slots count: all free ones, or only those whose channel this axis is the first to make."""
    free: NDArray[np.bool_] = axis.channels >= 0
    if first is None:
        return free
    here = np.array([first.get(int(c)) == (axis.name, axis.dim) for c in axis.channels], dtype=bool)
    result: NDArray[np.bool_] = free & here
    return result


def _first_producer(axes: Iterable[Axis]) -> dict[int, tuple[str, int]]:
    """The first of the axes that makes each channel."""
    found: dict[int, tuple[str, int]] = {}
    for axis in axes:
        for channel in np.unique(axis.channels[axis.channels >= 0]).tolist():
            found.setdefault(channel, (axis.name, axis.dim))
    return found
