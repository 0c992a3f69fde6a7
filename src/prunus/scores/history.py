"""Training history: filters whose norms went the same way through a whole training are redundant, all but one
of them.

Basha et al. 2024, "Deep Model Compression based on the Training History" (HBFP, arXiv 2102.00160).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.models.weights import load_weights
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import copy_model, named_tensors
from prunus.scores.reduce import per_channel, weight_axes, wide
from prunus.training.hooks import Pruning


class Pair(NamedTuple):
    """Two channels of one group, the one that goes first."""

    goes: int
    stays: int


@door(PlanError)
def filter_l1(graph: ChannelGraph, tensors: dict[str, Tensor] | None = None) -> Tensor:
    """Sum of the absolute weights of the filters that make a channel, shape (num_channels,): of all that
    write to one residual stream together.
    """
    making = [axis for axis in weight_axes(graph) if axis.produces]
    return per_channel(graph, making, lambda rows: wide(rows).abs().sum(1), "sum", tensors)


class NormHistory(Pruning):
    """Writes down `filter_l1` after every epoch; give it to `prunus.training.train` as its pruning (it prunes
    nothing).

    Args:
        example_inputs: what the model is called with, for its channels.

    Attributes:
        norms: one tensor (num_channels,) per epoch.
    """

    def __init__(self, example_inputs: Tensor) -> None:
        self._inputs = example_inputs
        self._graph: ChannelGraph | None = None
        self.norms: list[Tensor] = []

    def before_training(self, model: nn.Module, epochs: int) -> None:
        """Begin anew."""
        self.norms.clear()

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Write down the norms."""
        if self._graph is None or self._graph.model is not model:
            self._graph = trace(model, self._inputs)
        self.norms.append(filter_l1(self._graph))

    def state(self) -> dict[str, Any]:
        """The norms."""
        return {"norms": list(self.norms)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.norms = list(state["norms"])


@door(PlanError)
def from_checkpoints(graph: ChannelGraph, files: Iterable[Path]) -> Tensor:
    """The history from weight files, one per epoch, in their order, shape (files, num_channels); the model
    stays as it is.

    Raises:
        FileFormatError: a file that cannot be read, or that is of another network.
        PlanError: no files.
    """
    model = copy_model(graph.model, {})
    norms = []
    for file in files:
        load_weights(model, file)
        norms.append(filter_l1(graph, named_tensors(model)))
    if not norms:
        raise PlanError("There are no checkpoints to read a history from.")
    return torch.stack(norms)


@door(PlanError)
def closest_pairs(graph: ChannelGraph, history: Tensor, remove: Mapping[int, int]) -> dict[int, list[Pair]]:
    """The pairs with the nearest histories, D_ij = sum over epochs of |l1(i) - l1(j)|, until as many channels
    go as are wanted.

    Of a pair the channel with the smaller sum of norms goes. Pairs are taken in the order of D; one with a
    channel that goes already is passed over (our choice: the authors' code counts such pairs, so that fewer
    go).

    Args:
        graph: a traced model.
        history: norms, shape (epochs, num_channels).
        remove: how many channels go, by the index of their group.

    Returns:
        By the index of the group, its pairs, nearest first.

    Raises:
        PlanError: a history of another shape or without epochs, or more to remove than a group can lose.
    """
    if history.dim() != 2 or not len(history) or history.shape[1] != graph.num_channels:
        raise PlanError(
            f"A history has shape (epochs, {graph.num_channels}) with at least one epoch, not"
            f" {tuple(history.shape)}."
        )
    found: dict[int, list[Pair]] = {}
    for index, count in remove.items():
        group = graph.groups[index]
        if not 0 <= count < group.size:
            raise PlanError(
                f"{group.name} has {group.size} channels, of which 0 to {group.size - 1} can go, not {count}."
            )
        norms = history[:, torch.from_numpy(group.channels)].double()
        sums = norms.sum(0).tolist()
        first, second = np.triu_indices(group.size, 1)
        apart = torch.cdist(norms.T, norms.T, p=1).numpy()[first, second]
        gone: set[int] = set()
        pairs = found.setdefault(index, [])
        for position in np.argsort(apart, kind="stable").tolist():
            if len(gone) == count:
                break
            i, j = int(first[position]), int(second[position])
            if i in gone or j in gone:
                continue
            goes, stays = (i, j) if sums[i] <= sums[j] else (j, i)
            gone.add(goes)
            pairs.append(Pair(int(group.channels[goes]), int(group.channels[stays])))
    return found


@door(PlanError)
def pair_distance(model: nn.Module, graph: ChannelGraph, pairs: Mapping[int, list[Pair]]) -> Tensor:
    """R = sum over groups of the mean over pairs of |l1(i) - l1(j)| / mean l1 of the group: differentiable, a
    scalar.

    Our choice: in the released code the sum is computed once, outside of the graph of gradients, and pulls
        nothing. Relative to the mean norm it
    is of the same size for every layer and cannot overflow in exp(R).

    Args:
        model: the traced model, or a copy.
        graph: its channels.
        pairs: from `closest_pairs`.
    """
    tensors = named_tensors(model)
    device = next(iter(tensors.values())).device
    norms = torch.zeros(graph.num_channels, dtype=torch.float32, device=device)
    for axis in weight_axes(graph):
        if axis.produces:
            rows = tensors[axis.name].movedim(axis.dim, 0).flatten(1).abs().sum(1).float()
            free = torch.from_numpy(np.flatnonzero(axis.channels >= 0)).to(device)
            norms = norms.index_add(0, torch.from_numpy(axis.channels).to(device)[free], rows[free])
    total = norms.new_zeros(())
    for index, chosen in pairs.items():
        if chosen:
            goes, stays = torch.tensor(chosen, device=device).T
            mean = norms[torch.from_numpy(graph.groups[index].channels).to(device)].mean()
            total = total + (norms[goes] - norms[stays]).abs().mean() / mean
    return total
