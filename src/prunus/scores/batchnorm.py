"""Batch-norm scale (Liu et al., Network Slimming, 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import Axis, ChannelGraph
from prunus.scores.reduce import Reduce, per_channel


@door(PlanError)
def bn_scale(graph: ChannelGraph, reduce: Reduce = "mean") -> Tensor:
    """|gamma| of the batch norms that scale a channel. Channels without one get the mean score of all others.

    Returns:
        Scores, shape (num_channels,).

    Raises:
        PlanError: the model has no batch norm with a scale on a prunable channel.
    """
    axes = _scales(graph)
    if not axes:
        raise PlanError(
            f"{type(graph.model).__name__} has no batch norm with a scale on a channel that can be pruned;"
            " use another score."
        )
    scores = per_channel(graph, axes, lambda rows: rows.abs().amax(1), reduce)
    seen = per_channel(graph, axes, lambda rows: rows.abs().amax(1) * 0 + 1, "max") > 0
    scores[~seen] = scores[seen].mean()
    return scores


def _scales(graph: ChannelGraph) -> list[Axis]:
    names = {
        f"{name}.weight".removeprefix(".")
        for name, module in graph.model.named_modules()
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.affine
    }
    return [axis for axis in graph.axes if axis.name in names and (axis.channels >= 0).any()]
