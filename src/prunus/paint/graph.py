"""The result of tracing: channels, the groups they form, what is pinned and why, and what any plan costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.paint.cost import Cost, CostModel, LayerCost
from prunus.paint.costing import layer_costs
from prunus.paint.model_copy import Twin, fingerprint_of, named_tensors
from prunus.paint.records import Contraction, Labels, Leak, Mark, Paint, Record, Statistic
from prunus.paint.source import Source
from prunus.paint.state import State
from prunus.paint.widths import Site

Origin = tuple[int, int]
_SILENT = frozenset({"kernel positions", "used as an index", "a spatial axis"})


class Removal(Protocol):
    """What says which channels of a graph go: a plan."""

    def removed_in(self, graph: ChannelGraph) -> NDArray[np.bool_]:
        """The channels that go, shape (num_channels,)."""


class Axis(NamedTuple):
    """One axis of one parameter or buffer: the channel of every slot, -1 where pinned.

    `produces` says that its slots make channels, `consumed` that they are multiplied with channels and summed
    over (the input axis of a weight). `zeroed`: where a channel is removed, the masked network has `neutral`
    there, which is zero, or one where something is divided by it. Axes of one `pattern` hold the same
    channels slot by slot; those of pattern 0 hold none.
    """

    name: str
    dim: int
    channels: Labels
    produces: bool
    consumed: bool
    zeroed: bool
    neutral: float
    is_parameter: bool
    pattern: int


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that occur in the same dimensions of the same parameters: what a user calls a layer's width.

    `members` are those dimensions as (parameter, axis); `slots` says how many slots of its first member one
    channel takes.
    """

    index: int
    name: str
    channels: Labels
    members: tuple[tuple[str, int], ...]
    slots: int

    @property
    def size(self) -> int:
        """Number of channels."""
        return len(self.channels)


@dataclass(frozen=True)
class Pinned:
    """Slots that will never be pruned: why, which operator said so, on which line, and the parameter axes
    that it concerns.
    """

    reason: str
    operator: str
    where: str
    channels: int
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Note:
    """Channels whose removal changes the function of what is left, and why."""

    channels: Labels
    text: str


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """All channels of a model. `print(graph)` shows them.

    `training` is the same of its forward in train mode, with the same channels, where that does something
    else than the one in eval mode.
    """

    model: nn.Module
    twin: Twin
    inputs: tuple[tuple[Any, ...], dict[str, Any]]
    sources: tuple[Source, ...]
    records: tuple[Record, ...]
    returned: tuple[Tensor, ...]
    said: tuple[str, ...]  # plain numbers and texts among what was returned
    contractions: tuple[Contraction, ...]
    leaks: tuple[Leak, ...]
    component_of_colour: Labels
    channel_of_colour: Labels
    axes: tuple[Axis, ...]
    groups: tuple[Group, ...]
    group_of_channel: Labels
    pins: tuple[Mark, ...]
    notes: tuple[Note, ...]
    statistics: tuple[Statistic, ...]
    sites: tuple[Site, ...]
    # whether torch's functions were watched when it was painted, as statistics and lists of slots need it
    watched: bool
    state: State
    training: ChannelGraph | None
    costs: CostModel

    @property
    def forwards(self) -> tuple[ChannelGraph, ...]:
        """This one, and that of train mode where it is another."""
        return (self,) if self.training is None else (self, self.training)

    @cached_property
    def pinned(self) -> tuple[Pinned, ...]:
        """What will never be pruned, and why: most slots first."""
        return _reasons(self.pins, self.component_of_colour, self.sources)

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the architecture by the names and shapes of its parameters and buffers."""
        return fingerprint_of({source.name: source.tensor.shape for source in self.sources})

    def is_of(self, model: nn.Module) -> bool:
        """Whether a model has the parameters and buffers of the traced one, by name and shape; buffers that
        its forward made since do not matter.
        """
        tensors = named_tensors(model)
        for source in self.sources:
            found = tensors.pop(source.name, None)
            if found is None or (
                found.shape != source.tensor.shape and (source.is_parameter or source.name in self._cut)
            ):
                return False
        return not any(isinstance(tensor, nn.Parameter) for tensor in tensors.values())

    def remade(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """Buffers that have another shape than when the model was traced."""
        return [
            s.name
            for s in self.sources
            if not s.is_parameter and s.name in tensors and tensors[s.name].shape != s.tensor.shape
        ]

    @cached_property
    def _cut(self) -> frozenset[str]:
        """Parameters and buffers that hold channels; other buffers may have been made anew, by a forward on
        inputs of another size.
        """
        return frozenset(axis.name for axis in self.axes if (axis.channels >= 0).any())

    @cached_property
    def wiring(self) -> tuple[tuple[Origin | None, ...], ...]:
        """Where the operands of every record come from: (record, output), or (-1, source); None for inputs
        and other constants.
        """
        made: dict[int, Origin] = {
            id(source.tensor): (-1, position) for position, source in enumerate(self.sources)
        }
        result = []
        for index, record in enumerate(self.records):
            result.append(tuple([made.get(id(t)) for t in record.tensors]))
            for position, tensor in enumerate(record.outputs):
                made[id(tensor)] = (index, position)
        return tuple(result)

    @cached_property
    def anchors(self) -> tuple[list[tuple[str, int]], list[Labels]]:
        """Per group: an axis of a parameter that holds its channels, as (parameter, axis); and the first slot
        of each channel there.
        """
        axes = {(axis.name, axis.dim): axis for axis in self.axes}
        keys, slots = [], []
        first = np.zeros(self.num_channels, dtype=np.int64)
        for group in self.groups:
            key = min((m for m in group.members if axes[m].is_parameter), key=lambda m: not axes[m].produces)
            channels = axes[key].channels
            held = np.flatnonzero(channels >= 0)[::-1]
            first[channels[held]] = held
            keys.append(key)
            slots.append(first[group.channels])
        return keys, slots

    @property
    def num_channels(self) -> int:
        """Number of channels that can be removed."""
        return len(self.group_of_channel)

    def kept(self, removed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Channels kept per group, shape (groups,), from a boolean array over the channels."""
        return np.bincount(self.group_of_channel[~removed], minlength=len(self.groups)).astype(np.int64)

    def stays(self, labels: Labels | slice, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which slots of a painted axis, or which of a range of colours, stay, shape (slots,)."""
        return ~np.append(removed, False)[self.channel_of_colour[labels]]  # pinned slots are channel -1

    def kept_length(self, labels: Labels, removed: NDArray[np.bool_]) -> int:
        """How many slots of a painted axis stay."""
        return int(self.stays(labels, removed).sum())

    def kept_shape(self, shape: Sequence[int], paint: Paint, removed: NDArray[np.bool_]) -> tuple[int, ...]:
        """The shape of a painted tensor once channels are gone."""
        by_axis = {stripe.axis: stripe.labels for stripe in paint}
        return tuple(
            self.kept_length(by_axis[a], removed) if a in by_axis else int(n) for a, n in enumerate(shape)
        )

    def cost(self, plan: Removal | None = None) -> Cost:
        """MACs, parameters, bytes and peak activation of the model, or of what a plan leaves of it, without
        building it.
        """
        return self.costs.cost(self.kept(self._removed(plan)))

    def layers(self, plan: Removal | None = None) -> tuple[LayerCost, ...]:
        """Every convolution and matrix product with its width and cost, before and after a plan."""
        return layer_costs(self, self._removed(plan))

    def _removed(self, plan: Removal | None) -> NDArray[np.bool_]:
        if plan is None:
            return np.zeros(self.num_channels, dtype=bool)
        return plan.removed_in(self)

    def __str__(self) -> str:
        from prunus.paint.tables import graph_table

        return graph_table(self)

    def __repr__(self) -> str:
        return (
            f"ChannelGraph({type(self.model).__name__}: {self.num_channels} channels in {len(self.groups)}"
            " groups)"
        )


def _reasons(pins: Sequence[Mark], parent: Labels, sources: Sequence[Source]) -> tuple[Pinned, ...]:
    """One entry per distinct reason and line, with the parameter axes that it reaches."""
    reach: dict[tuple[str, str, str], set[int]] = {}
    for mark in pins:
        if mark.reason not in _SILENT:
            key = (mark.reason, mark.operator, str(mark.where))
            reach.setdefault(key, set()).update(parent[mark.labels].reshape(-1).tolist())
    owners: dict[int, list[str]] = {}
    for source in sources:
        if source.is_parameter:
            for axis in range(min(2, source.tensor.dim())):
                if source.tensor.shape[axis] > 1:
                    for root in np.unique(parent[source.colours(axis)]).tolist():
                        owners.setdefault(root, []).append(f"{source.name}:{axis}")
    result = []
    for (reason, operator, where), roots in reach.items():
        owned = [r for r in roots if r in owners]
        if owned:
            names = tuple(dict.fromkeys(name for r in owned for name in owners[r]))
            result.append(Pinned(reason, operator, where, len(owned), names))
    return tuple(sorted(result, key=lambda p: -p.channels))
