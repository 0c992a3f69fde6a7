"""Neuron importance score propagation (Yu et al. 2018, "NISP", arXiv 1711.05908): how much a channel matters
to the final response of the network.

The final response, what the last layer gets, is ranked by infinite feature selection (Roffo, Melzi and
Cristani 2015); from there importance goes backwards,

    s_j = sum over outputs i of |w_ij| s_i,

through every layer that reads a channel. Batch norms, rectifiers and poolings are passed, as in the paper;
that a batch norm multiplies by its scale is our addition, and so is the sum over all layers that read a
coupled channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.observe.capture import check_finite, seen_by_all
from prunus.observe.matrices import as_matrix, channel_axis
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.plans.consumers import Reader, readers
from prunus.plans.verify import evaluated_copy
from prunus.scores.reconstruction import filled
from prunus.scores.reduce import norm_scale

_MIXING = 0.5  # Inf-FS: as much from how far features spread as from how little they repeat each other


@door(PlanError)
def nisp(graph: ChannelGraph, batches: Iterable[Inputs]) -> Tensor:
    """Importance propagated from the final response.

    Args:
        graph: a traced model.
        batches: calibration inputs, as the model takes them.

    Returns:
        Scores, shape (num_channels,); those of channels that no plain layer reads follow their norms, around
        the mean score.

    Raises:
        PlanError: there are no inputs, or no plain layer reads a channel.
    """
    found = readers(graph)
    if not found:
        raise PlanError(
            f"{type(graph.model).__name__} has no plain layer that reads a channel; choose another score."
        )
    last = found[-1]
    scores = torch.full((graph.num_channels,), torch.nan, dtype=torch.float64)
    free = torch.from_numpy(np.tile(last.inputs, last.groups))
    _add(scores, free, infinite_feature_selection(_responses(graph, last, batches)))
    for reader in reversed(found[:-1]):
        channels = torch.from_numpy(reader.inputs)
        # nothing behind it: as it is
        importance = torch.cat([scores, scores.new_zeros(1)])[torch.from_numpy(reader.outputs)].nan_to_num(
            1.0
        )
        importance = torch.where(
            torch.from_numpy(reader.outputs) < 0, torch.ones_like(importance), importance
        ) * _scale(graph, reader)
        layer: Any = graph.model.get_submodule(reader.name)
        sums = as_matrix(layer, layer.weight.detach().double().cpu()).abs().sum(2)
        _add(scores, channels, importance @ sums)
    return filled(scores, graph)


def infinite_feature_selection(responses: Tensor) -> Tensor:
    """Inf-FS of features, shape (features,), from responses (samples, features): sums over paths of all
    lengths through pairs of features.

    A pair weighs 1/2 max(spread_i, spread_j) + 1/2 (1 - |Spearman's correlation|), spreads relative to the
    largest.
    """
    from scipy.stats import rankdata  # takes a second to import

    values = responses.double().numpy()
    spread = values.std(0)
    spread = spread / (spread.max() or 1.0)
    ranks = rankdata(values, axis=0)
    ranks = ranks - ranks.mean(0)
    lengths = np.linalg.norm(ranks, axis=0)
    correlation = ranks.T @ ranks / np.maximum(np.outer(lengths, lengths), 1e-12)
    pairs = _MIXING * np.maximum.outer(spread, spread) + (1 - _MIXING) * (1 - np.abs(correlation))
    radius = float(np.abs(np.linalg.eigvalsh(pairs)).max()) or 1.0
    paths = np.linalg.inv(np.eye(len(pairs)) - 0.9 / radius * pairs) - np.eye(len(pairs))
    return torch.from_numpy(paths.sum(1))


def _responses(graph: ChannelGraph, reader: Reader, batches: Iterable[Inputs]) -> Tensor:
    """What a layer gets, averaged over places, (samples, inputs)."""
    axis, rows = channel_axis(graph.model.get_submodule(reader.name)), []
    with evaluated_copy(graph.model) as model:
        for seen in seen_by_all(model, [reader.name], batches):
            for inputs, _ in seen[reader.name]:
                maps = inputs.movedim(axis, 1)
                rows.append((maps.flatten(2).mean(2) if maps.dim() > 2 else maps).double().cpu())
    if not rows:
        raise PlanError("There is no batch of calibration inputs; at least one is needed.")
    responses = torch.cat(rows)
    check_finite(reader.name, responses)
    return responses


def _scale(graph: ChannelGraph, reader: Reader) -> Tensor:
    """How much the batch norm behind a layer multiplies its outputs."""
    if not reader.norm:
        return torch.ones(len(reader.outputs), dtype=torch.float64)
    return norm_scale(graph.model.get_submodule(reader.norm)).abs()


def _add(scores: Tensor, channels: Tensor, importance: Tensor) -> None:
    """Add the importance of slots to their channels, which begin at NaN."""
    free = channels >= 0
    scores[channels[free]] = scores[channels[free]].nan_to_num(0.0)
    scores.index_add_(0, channels[free], importance[free])
