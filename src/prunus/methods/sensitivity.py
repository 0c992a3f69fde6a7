"""Sensitivity: what a network loses, measured, with one layer narrower and all others as they are.

Li et al. 2017, "Pruning Filters for Efficient ConvNets" (arXiv 1608.08710), section 3.2, prune every layer at
several rates and measure; Frantar and Alistarh 2022, "SPDY" (arXiv 2201.13096), choose layer by layer from such
losses under a budget. Our choices: what is measured is how far the outputs move, which takes no labels and no
thousands of samples; the layers that read what goes are refitted first, in closed form from the moments of
their inputs, since that is what will be done with them; and the loss is known at every width by interpolation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.compensation.least_squares import without
from prunus.errors import PlanError
from prunus.observe.capture import check_repeatable
from prunus.observe.matrices import as_matrix, from_matrix
from prunus.paint.graph import ChannelGraph, Group
from prunus.paint.inputs import Inputs, as_arguments, called
from prunus.paint.model_copy import copy_model
from prunus.planning.losses import Losses, curve
from prunus.plans.mask import produced, set_to_zero
from prunus.plans.verify import evaluating
from prunus.scores.products import LayerProducts, families

SHARES = (0.25, 0.5, 0.75, 0.9)  # of a group's channels that go where the loss is measured
RIDGE = 1e-3
Distance = Callable[[Any, Any], float]
Watcher = Callable[[int, int], None]


def unwatched(done: int, total: int) -> None:
    """Nobody watches."""


@door(PlanError)
def sensitivity(
    graph: ChannelGraph,
    scores: Tensor,
    batches: Iterable[Inputs],
    distance: Distance,
    *,
    judged: Iterable[Inputs] | None = None,
    shares: Sequence[float] = SHARES,
    ridge: float = RIDGE,
    on_step: Watcher = unwatched,
) -> list[Losses]:
    """What the network loses at every width of every group, for `prunus.plan(..., scope="measured")`.

    Args:
        graph: a traced model.
        scores: shape (num_channels,): in which order the channels of a group go, the lowest first.
        batches: calibration inputs, as the model takes them, that layers are refitted on.
        distance: (outputs of the original, outputs without some channels) -> how far they are apart, for one
            batch.
        judged: inputs that the distance is measured on; None = the same.
        shares: of a group's channels, at which it is measured.
        ridge: of the refitting.
        on_step: called with (groups done, groups in all).

    Returns:
        Per group the loss with n channels left, shape (size + 1,).

    Raises:
        PlanError: scores of the wrong length; no inputs, or ones that can be read only once.
    """
    check_repeatable(batches)
    if scores.numel() != graph.num_channels:
        raise PlanError(f"There are {scores.numel()} scores for {graph.num_channels} channels.")
    ranked = scores.detach().double().cpu().numpy().reshape(-1)
    measured: dict[int, Losses] = {}
    changed = Changed(graph)
    with evaluating(changed.network):
        judge = _Judge(changed.network, list(batches if judged is None else judged), distance)
        for family in _all_families(graph, batches):
            groups = {int(graph.group_of_channel[c]) for one in family for c in one.channels if c >= 0}
            for index in sorted(groups - set(measured)):
                on_step(len(measured), len(graph.groups))
                group = graph.groups[index]
                order = group.channels[np.argsort(ranked[group.channels], kind="stable")]
                measured[index] = _measured(changed, judge, group, order, family, shares, ridge)
        for group in graph.groups:  # those that no layer reads of which moments are known
            if group.index not in measured:
                on_step(len(measured), len(graph.groups))
                order = group.channels[np.argsort(ranked[group.channels], kind="stable")]
                measured[group.index] = _measured(changed, judge, group, order, [], shares, ridge)
    on_step(len(graph.groups), len(graph.groups))
    return [measured[group.index] for group in graph.groups]


def _all_families(graph: ChannelGraph, batches: Iterable[Inputs]) -> Iterator[list[LayerProducts]]:
    yield from families(graph, batches)


def _measured(
    changed: Changed,
    judge: _Judge,
    group: Group,
    order: NDArray[np.int64],
    family: list[LayerProducts],
    shares: Sequence[float],
    ridge: float,
) -> Losses:
    """The loss at every width of a group."""
    counts = sorted({min(group.size - 1, round(share * group.size)) for share in shares} - {0})
    losses = []
    for count in counts:
        with changed.without(order[:count], family, ridge):
            losses.append(judge.loss())
    return curve(group.size, [group.size - count for count in counts], losses)


class _Judge:
    """How far the outputs of a network are from those that it had when this was made."""

    def __init__(self, network: nn.Module, batches: list[Inputs], distance: Distance) -> None:
        if not batches:
            raise PlanError("There is no batch of calibration inputs; at least one is needed.")
        self._network, self._batches, self._distance = network, batches, distance
        self._wanted = [self._run(batch) for batch in batches]

    def loss(self) -> float:
        """The mean over batches."""
        found = [
            self._distance(wanted, self._run(batch)) for wanted, batch in zip(self._wanted, self._batches)
        ]
        return float(np.nan_to_num(np.mean(found), nan=np.inf, posinf=1e30))

    def _run(self, batch: Inputs) -> Any:
        args, kwargs = as_arguments(batch)
        return called(self._network, args, kwargs)


class Changed:
    """A copy of a network from which channels are taken, and given back."""

    def __init__(self, graph: ChannelGraph) -> None:
        self._graph, self.network = graph, copy_model(graph.model, {})

    @contextmanager
    def without(
        self, channels: NDArray[np.int64], family: list[LayerProducts], ridge: float
    ) -> Iterator[None]:
        """The network without some channels, the layers that read them refitted."""
        removed = np.zeros(self._graph.num_channels, dtype=bool)
        removed[channels] = True
        saved: dict[int, tuple[Tensor, Tensor]] = {}

        def save(tensor: Tensor) -> None:
            saved.setdefault(id(tensor), (tensor, tensor.detach().clone()))

        with torch.no_grad():
            zeros = produced(self.network, self._graph, removed)
            for zero in zeros:
                save(zero.tensor)
            set_to_zero(zeros)
            for layer in family:
                if removed[layer.channels[layer.channels >= 0]].any():
                    self._refit(layer, removed, ridge, save)
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, before in saved.values():
                    tensor.copy_(before)

    def _refit(
        self, layer: LayerProducts, removed: NDArray[np.bool_], ridge: float, save: Callable[[Tensor], None]
    ) -> None:
        """Put the weight that makes do without the channels into the network."""
        assert layer.reader is not None
        module = cast(Any, self.network.get_submodule(layer.reader.name))
        slots = torch.from_numpy(~np.append(removed, False)[layer.channels])
        kept = slots.repeat_interleave(layer.weight.shape[2])
        weight, shift = without(layer.weight.flatten(1), layer.products, layer.means, kept, ridge)
        save(module.weight)
        matrix = as_matrix(module, module.weight.detach()).clone()
        matrix[layer.made.to(matrix.device)] = weight.view_as(layer.weight).to(matrix)
        module.weight.copy_(from_matrix(module, matrix, module.weight))
        if module.bias is not None:
            save(module.bias)
            module.bias[layer.made] += shift.to(module.bias)
        elif layer.reader.norm:
            norm = cast(Any, self.network.get_submodule(layer.reader.norm))
            save(norm.running_mean)
            norm.running_mean[layer.made] -= shift.to(norm.running_mean)
