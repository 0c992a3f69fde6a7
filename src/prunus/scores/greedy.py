"""The greedy l1 norm of Li et al. 2017, "Pruning Filters for Efficient ConvNets" (arXiv 1608.08710), section
3.3.

Layers are pruned from the first to the last, and a filter's norm leaves out the kernels that read what
earlier layers have lost by then, which the "independent" norm (`prunus.scores.norm` with p=1) still counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.model_copy import named_tensors
from prunus.planning.targets import plan
from prunus.scores.reduce import as_rows, weight_axes, wide


@door(PlanError)
def greedy_norm(graph: ChannelGraph, rate: float, rates: Mapping[str, float] | None = None) -> Tensor:
    """sum |w| over the kernels of the filter that makes a channel, without kernels that read channels which
    are removed already.

    What is removed on the way depends on how much goes, so rates are asked for here, and the plan that is
    meant is the one of the same rates: `prunus.plan(graph, greedy_norm(graph, 0.5), rate=0.5)`.

    Channels of several layers (those of a residual stream) are ranked when the first of them runs, by its
    filters alone, as with "producer" in `prunus.scores.norm`; the paper's rule for residual blocks, whose
    shortcut decides, is of that kind.

    Args:
        graph: a traced model.
        rate: fraction of the channels of every group that goes.
        rates: glob pattern of layers -> rate for these, as for `prunus.plan`.

    Returns:
        Scores, shape (num_channels,), comparable within a group.

    Raises:
        TargetError: a rate that is not from 0 to 1.
        PlanError: a pattern that matches nothing.
    """
    scores = torch.zeros(graph.num_channels, dtype=torch.float64)
    removed = np.zeros(graph.num_channels, dtype=bool)
    # how many stay does not depend on the scores
    kept = graph.kept(plan(graph, scores, rate=rate, rates=rates).removed_in(graph))
    tensors = named_tensors(graph.model)
    for index, axis in _first_makers(graph).items():
        weight = wide(tensors[axis.name].detach()).abs()
        for read in (other for other in graph.axes if other.name == axis.name and other.dim != axis.dim):
            gone = np.flatnonzero((read.channels >= 0) & removed[read.channels])
            weight = weight.index_fill(read.dim, torch.from_numpy(gone).to(weight.device), 0)
        channels = graph.groups[index].channels
        slots = as_rows(weight, axis.dim).sum(1).double().cpu()
        norms = np.bincount(axis.channels + 1, slots, graph.num_channels + 1)[1:][
            channels
        ]  # pinned slots are channel -1
        scores[channels] = torch.from_numpy(norms)
        worst = channels[np.argsort(norms, kind="stable")]
        removed[worst[: len(worst) - int(kept[index])]] = True
    return scores


def _first_makers(graph: ChannelGraph) -> dict[int, Axis]:
    """Group -> the axis of the weight that makes its channels first; groups in the order in which that
    happens.
    """
    names = {id(source.tensor): source.name for source in graph.sources}
    runs: dict[str, int] = {}
    for index, record in enumerate(graph.records):
        for tensor in record.tensors:
            runs.setdefault(names.get(id(tensor), ""), index)
    found: dict[int, Axis] = {}
    for axis in sorted(
        (axis for axis in weight_axes(graph) if axis.produces), key=lambda axis: runs[axis.name]
    ):
        for index in np.unique(graph.group_of_channel[axis.channels[axis.channels >= 0]]).tolist():
            found.setdefault(index, axis)
    return found
