"""Slices: what of every parameter and buffer is left under a plan. Pure data, and the cut itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.paint.graph import ChannelGraph

_BLOCK = 1 << 18  # numbers
_ORDERS = {4: (torch.channels_last,), 5: (torch.channels_last_3d,)}  # of memory, by the number of axes
Slices = dict[str, dict[int, NDArray[np.int64]]]


def slices_of(graph: ChannelGraph, removed: NDArray[np.bool_]) -> Slices:
    """Kept slots of every axis that loses some."""
    result: Slices = {}
    stays = ~np.append(removed, False)  # pinned slots are channel -1
    kept: dict[int, NDArray[np.int64] | None] = {0: None}
    for axis in graph.axes:
        if axis.pattern not in kept:
            left = np.flatnonzero(stays[axis.channels])
            kept[axis.pattern] = left if len(left) < len(axis.channels) else None
        indices = kept[axis.pattern]
        if indices is not None:
            result.setdefault(axis.name, {})[axis.dim] = indices
    return result


def cut(tensor: Tensor, axes: Mapping[int, NDArray[np.int64]]) -> Tensor:
    """The kept slots of a tensor, as a new tensor of the same kind, with channels last where it has them."""
    indices = {axis: torch.from_numpy(kept).to(tensor.device) for axis, kept in axes.items()}
    result = _selected(tensor.detach(), indices)
    for order in _ORDERS.get(tensor.dim(), ()):
        if tensor.is_contiguous(memory_format=order) and not tensor.is_contiguous():
            result = result.contiguous(memory_format=order)
    if not isinstance(tensor, nn.Parameter):
        return result
    parameter = nn.Parameter(result, requires_grad=tensor.requires_grad)
    parameter.__dict__.update(tensor.__dict__)
    return parameter


def _selected(tensor: Tensor, indices: Mapping[int, Tensor]) -> Tensor:
    """The slots at the given indices along every axis; large tensors row by row, so that what is in between
    stays in cache.
    """
    if 0 not in indices or len(indices) != 2 or tensor.numel() <= _BLOCK:
        for axis, index in indices.items():
            tensor = tensor.index_select(axis, index)
        return tensor
    (_, rows), (axis, index) = sorted(indices.items())
    result = tensor.new_empty([len(indices[a]) if a in indices else n for a, n in enumerate(tensor.shape)])
    step = max(1, _BLOCK * tensor.shape[0] // tensor.numel())
    for start in range(0, len(rows), step):
        torch.index_select(
            tensor.index_select(0, rows[start : start + step]), axis, index, out=result[start : start + step]
        )
    return result
