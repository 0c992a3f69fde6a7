"""Sensitivity: what a network loses, measured, with one layer narrower and all others as they are.

Li et al. 2017, "Pruning Filters for Efficient ConvNets" (arXiv 1608.08710), section 3.2, prune every layer
at several rates and measure; Frantar and Alistarh 2022, "SPDY" (arXiv 2201.13096), choose layer by layer from
such losses under a budget. Our choices: what is measured is how far the outputs move, which takes no labels
and no thousands of samples; the layers that read what goes are refitted first, in closed form from the
moments of their inputs, since that is what will be done with them; and the loss is known at every width by
interpolation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.compensation.least_squares import without
from prunus.compensation.prefix_cache import Resumed
from prunus.errors import ConfigError, PlanError
from prunus.observe.capture import check_repeatable
from prunus.observe.matrices import as_matrix, from_matrix
from prunus.paint.graph import ChannelGraph, Group
from prunus.paint.inputs import Inputs, tensors_in
from prunus.paint.model_copy import copy_model, named_tensors
from prunus.planning.losses import Losses, curve
from prunus.plans.mask import lost_slots, produced, set_to_zero
from prunus.plans.verify import evaluating
from prunus.scores.products import LayerProducts, families
from prunus.segmentation.metrics import maps_of
from prunus.tasks.placed import Placed
from prunus.tasks.segmentation import MeanIoU
from prunus.tasks.task import Task
from prunus.training.calibration import Calibration
from prunus.training.feeding import at_once

SHARES = (0.25, 0.5, 0.75, 0.9)  # of a group's channels that go where the loss is measured
RIDGE = 1e-3
MOST_BYTES = 1 << 30  # of outputs that are kept
MOST_LOSS = 1e30  # of a network whose outputs are no numbers any more
Distance = Callable[[Any, Any], float]
Watcher = Callable[[int, int], None]


JUDGED = 128  # training samples that it is measured on
LEAST_JUDGED = 32  # of large inputs fewer are, but so many


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
    changed = Changed(graph, ridge)
    with evaluating(changed.network):
        judge = _Judge(graph, changed, list(batches if judged is None else judged), distance)
        # the last family is that of groups of whose readers no moments are known
        for family in chain(families(graph, batches), [[]]):
            groups = {int(graph.group_of_channel[c]) for one in family for c in one.channels if c >= 0}
            for index in sorted((groups if family else set(range(len(graph.groups)))) - set(measured)):
                on_step(len(measured), len(graph.groups))
                group = graph.groups[index]
                order = group.channels[np.argsort(ranked[group.channels], kind="stable")]
                counts = sorted({min(group.size - 1, round(share * group.size)) for share in shares} - {0})
                judge.begin(group, family)
                losses = [judge.loss(order[:count], family) for count in counts]
                measured[index] = curve(group.size, [group.size - count for count in counts], losses)
    on_step(len(graph.groups), len(graph.groups))
    return [measured[group.index] for group in graph.groups]


@door(ConfigError)
def sensitivity_of(
    task: Task, graph: ChannelGraph, scores: Tensor, seed: int = 0, on_step: Watcher = unwatched
) -> list[Losses]:
    """The same for a task, by training samples of which labels are not looked at: classes, of samples or
    pixels, by the Kullback-Leibler divergence from the original's, anything else by `squares`.
    """
    numbers = sum(one.numel() for one in tensors_in(task.example_inputs()))
    fitted, few = _apart(task, max(LEAST_JUDGED, at_once(numbers, JUDGED)), seed)
    classes = task.tells_classes or isinstance(task.by_class, MeanIoU)
    return sensitivity(
        graph,
        scores,
        Placed(fitted, graph.model),
        divergence if classes else squares,
        judged=Placed(few, graph.model),
        on_step=on_step,
    )


def _apart(task: Task, judged: int, seed: int) -> tuple[Any, Any]:
    """Samples that layers are refitted on, and others to judge by: on few samples a wide layer is refitted to
    look as if nothing had gone. Of small sets a half at most is for judging.
    """
    usual = task.calibration(seed=seed)
    if task.kind("train") != "samples":
        return usual, task.calibration(judged, seed, last=True)
    total = task.count("train")
    judged = max(1, min(judged, total // 2))
    count = usual.count if isinstance(usual, Calibration) else usual.samples
    return task.calibration(max(1, min(count, total - judged)), seed), task.calibration(
        judged, seed, last=True
    )


def divergence(wanted: Any, found: Any) -> float:
    """The Kullback-Leibler divergence of classes (batch, classes, ...) from wanted ones, both logits; one map
    is the foreground's. `squares` of what is no logits.
    """
    wanted, found = maps_of(wanted), maps_of(found)
    if not (isinstance(wanted, Tensor) and wanted.dim() > 1):
        return squares(wanted, found)
    if wanted.shape[1] == 1:
        wanted, found = (torch.cat([torch.zeros_like(one), one], 1) for one in (wanted, found))
    sure, other = (one.double().log_softmax(1) for one in (wanted, found))
    return float((sure.exp() * (sure - other)).sum(1).mean())


def squares(wanted: Any, found: Any) -> float:
    """The squared distance of all tensors of numbers in the outputs, each relative to its own variance."""
    total = 0.0
    for one, other in zip(tensors_in(wanted), tensors_in(found)):
        if one.is_floating_point() and one.shape == other.shape and one.numel():
            spread = float(one.double().var(correction=0)) or 1.0
            total += float((one.double() - other.double()).square().mean()) / spread
    return total


class _Judge:
    """How far the outputs of a network are from those that it had when this was made."""

    def __init__(
        self, graph: ChannelGraph, changed: Changed, batches: list[Inputs], distance: Distance
    ) -> None:
        if not batches:
            raise PlanError("There is no batch of calibration inputs; at least one is needed.")
        self._graph, self._changed, self._batches, self._distance = graph, changed, batches, distance
        self._resumed, self._reached = Resumed(changed.network, graph, batches[0], MOST_BYTES), 0
        self._runs = _first_uses(graph)
        self._wanted = [self._resumed.whole(number, batch) for number, batch in enumerate(batches)]

    def begin(self, group: Group, family: list[LayerProducts]) -> None:
        """What runs before anything that this group changes is run once for all its widths."""
        first = min(
            (self._runs.get(name, 0) for name in self._changed.names(group.channels, family)), default=0
        )
        if first < self._reached:
            self._resumed.forget()
        self._reached = first
        module = self._graph.records[first].module
        if module and not list(self._changed.network.get_submodule(module).children()):
            for number, batch in enumerate(self._batches):
                self._resumed.upto(module, number, batch)

    def loss(self, channels: NDArray[np.int64], family: list[LayerProducts]) -> float:
        """The mean over batches, without some channels."""
        with self._changed.without(channels, family):
            found = [
                self._distance(wanted, self._resumed.whole(number, batch))
                for number, (wanted, batch) in enumerate(zip(self._wanted, self._batches))
            ]
        return float(np.nan_to_num(np.mean(found), nan=MOST_LOSS, posinf=MOST_LOSS))


def _first_uses(graph: ChannelGraph) -> dict[str, int]:
    """Parameter or buffer -> the first record that looks at it."""
    names = {id(tensor): name for name, tensor in named_tensors(graph.twin.model).items()}
    found: dict[str, int] = {}
    for number, record in enumerate(graph.records):
        for tensor in record.tensors:
            if id(tensor) in names:
                found.setdefault(names[id(tensor)], number)
    return found


class Changed:
    """A copy of a network from which channels are taken, and given back."""

    def __init__(self, graph: ChannelGraph, ridge: float) -> None:
        self._graph, self._ridge, self.network = graph, ridge, copy_model(graph.model, {})

    def names(self, channels: NDArray[np.int64], family: list[LayerProducts]) -> set[str]:
        """Parameters and buffers that change when some of these channels go."""
        removed = np.zeros(self._graph.num_channels, dtype=bool)
        removed[channels] = True
        found = {axis.name for axis, _ in lost_slots(self._graph, removed) if axis.zeroed}
        for layer in family:
            if layer.reader is not None and np.isin(layer.channels, channels).any():
                found.add(f"{layer.reader.name}.weight".removeprefix("."))
        return found

    @contextmanager
    def without(self, channels: NDArray[np.int64], family: list[LayerProducts]) -> Iterator[None]:
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
                if layer.reader and removed[layer.channels[layer.channels >= 0]].any():
                    self._refit(layer, removed, save)
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, before in saved.values():
                    tensor.copy_(before)

    def _refit(
        self, layer: LayerProducts, removed: NDArray[np.bool_], save: Callable[[Tensor], None]
    ) -> None:
        """Put the weight that makes do without the channels into the network."""
        assert layer.reader is not None
        module = cast(Any, self.network.get_submodule(layer.reader.name))
        slots = torch.from_numpy(~np.append(removed, False)[layer.channels])
        kept = slots.repeat_interleave(layer.weight.shape[2])
        weight, shift = without(layer.weight.flatten(1), layer.products, layer.means, kept, self._ridge)
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
