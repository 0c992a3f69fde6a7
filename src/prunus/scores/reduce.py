"""From numbers per slot to one number per channel: a channel owns slots of many parameters, and the caller
says how they are combined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.model_copy import named_tensors

Reduce = Literal["sum", "mean", "max", "producer"]
SlotScore = Callable[[Tensor], Tensor]


@door(PlanError)
def weight_axes(graph: ChannelGraph) -> list[Axis]:
    """Axes of weights (two or more dimensions) that hold prunable slots: filters, and the input slices that
    read them.
    """
    ranks = {source.name: source.tensor.dim() for source in graph.sources}
    return [
        axis
        for axis in graph.axes
        if axis.is_parameter and ranks[axis.name] > 1 and axis.channels.max(initial=-1) >= 0
    ]


@door(PlanError)
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
        reduce: "sum", "mean" or "max" over all slots of a channel, or "producer": the first axis that makes
            the channel, alone (summed over its slots).
        tensors: parameters by name to use instead of the model's own.

    Returns:
        float64 scores, shape (num_channels,); channels without any slot in `axes` get 0.
    """
    tensors = tensors if tensors is not None else named_tensors(graph.model)
    return combined(graph, axes, lambda axis: slot_score(as_rows(tensors[axis.name], axis.dim)), reduce)


def combined(
    graph: ChannelGraph, axes: Iterable[Axis], slot_scores: Callable[[Axis], Tensor], reduce: Reduce
) -> Tensor:
    """`per_channel` with a function that gives the scores of all slots of an axis, shape (slots,)."""
    if reduce not in ("sum", "mean", "max", "producer"):
        raise PlanError(f"reduce must be 'sum', 'mean', 'max' or 'producer', not {reduce!r}.")
    chosen = [axis for axis in axes if axis.produces or reduce != "producer"]
    first = _first_producer(chosen) if reduce == "producer" else None
    if not chosen or not graph.num_channels:
        return torch.zeros(graph.num_channels, dtype=torch.float64)
    scores = torch.cat([slot_scores(axis) for axis in chosen]).to("cpu", torch.float64).numpy()
    mine = np.concatenate([_mine(axis, first) for axis in chosen])
    channels, scores = np.concatenate([axis.channels for axis in chosen])[mine], scores[mine]
    slots = np.bincount(channels, minlength=graph.num_channels)
    if reduce == "max":
        total = np.full(graph.num_channels, -np.inf)
        np.maximum.at(total, channels, scores)
        total[slots == 0] = 0.0
    else:
        total = np.bincount(channels, weights=scores, minlength=graph.num_channels)
    return torch.from_numpy(total / np.maximum(slots, 1) if reduce == "mean" else total)


def as_rows(tensor: Tensor, axis: int) -> Tensor:
    """One row per slot of an axis, shape (slots, rest)."""
    rows = tensor.detach().movedim(axis, 0)
    return rows.reshape(rows.shape[0], -1)


def wide(rows: Tensor) -> Tensor:
    """At least single precision, for sums over many numbers."""
    return rows if rows.dtype in (torch.float32, torch.float64) else rows.float()


def norm_scale(norm: nn.Module) -> Tensor:
    """What a batch norm with running statistics multiplies its channels with, float64, shape (channels,)."""
    variance, eps = cast(Tensor, norm.running_var), cast(float, norm.eps)
    scale = (variance.detach().double().cpu() + eps).rsqrt()
    return scale if norm.weight is None else scale * cast(Tensor, norm.weight).detach().double().cpu()


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
