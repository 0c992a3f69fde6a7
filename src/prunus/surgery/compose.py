"""Two plans, one after the other, as one plan of the first model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prunus.errors import PlanError, PrunusError
from prunus.paint.graph import Axis, ChannelGraph
from prunus.plans.plan import Plan, make_plan
from prunus.plans.resolve import graph_for
from prunus.plans.slices import Slices, slices_of
from prunus.surgery.indices import remaps_of
from prunus.surgery.origin import Origin
from prunus.surgery.rescaling import Rescale
from prunus.surgery.slicing import Surgery


def compose(model: nn.Module, first: Plan, second: Plan) -> Plan:
    """The plan that removes from the model what `first` does and what `second` does from the compact model of
    `first`.

    Raises PlanError if `first` is for another model, or `second` cannot be of what it leaves, or removes a
    part of what is one channel of the model; `whole_channels` leaves such parts in.
    """
    graph = graph_for(model, first)
    removed = first.removed_in(graph).copy()
    slices, axes = slices_of(graph, removed), {(axis.name, axis.dim): axis.channels for axis in graph.axes}
    for group in second.groups:
        channels = axes.get((group.parameter, group.dim))
        if channels is None:
            raise PlanError(
                f"The second plan removes slots of {group.parameter}, which {type(model).__name__} does not"
                " have."
            )
        kept = slices.get(group.parameter, {}).get(group.dim)
        left = channels if kept is None else channels[kept]
        if group.removed and (max(group.removed) >= len(left) or (left[list(group.removed)] < 0).any()):
            raise PlanError(
                f"The second plan removes slots of {group.parameter} that the first one does not leave; it is"
                " for another model."
            )
        removed[left[list(group.removed)]] = True
    inner = second.graph
    if inner is not None and _split(graph, slices, inner, second.removed_in(inner)).any():
        raise PlanError(
            f"The second plan removes a part of what is one channel of {type(model).__name__}: it must remove"
            " the whole of it, or nothing."
        )
    return make_plan(graph, removed)


def whole_channels(model: nn.Module, first: Plan | None, second: Plan) -> Plan:
    """What `second` removes from the compact model of `first` without parts of what is one channel of the
    model, so that `compose` can say it.

    The groups of a group norm, of a convolution or of heads may be channels of many slots, which are channels
    of their own once `first` has left one such group alone.
    """
    inner = second.graph
    if first is None or inner is None:
        return second
    graph, removed = graph_for(model, first), second.removed_in(inner).copy()
    slices = slices_of(graph, first.removed_in(graph))
    while (split := _split(graph, slices, inner, removed)).any():
        for left, axis in _both(graph, slices, inner):
            removed[axis.channels[split[left] & (axis.channels >= 0)]] = False
    return make_plan(inner, removed, second.trials, second.timings)


def _split(
    graph: ChannelGraph, slices: Slices, inner: ChannelGraph, removed: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The channels of the first graph that lose some of the slots that are left of them, and keep some, shape
    (num_channels + 1,); the last stands for pinned slots.
    """
    slots, gone = (np.zeros(graph.num_channels + 1, np.int64) for _ in range(2))
    for left, axis in _both(graph, slices, inner):
        np.add.at(slots, left, 1)
        np.add.at(gone, left[np.append(removed, False)[axis.channels]], 1)
    split: NDArray[np.bool_] = (gone > 0) & (gone < slots)
    split[-1] = False
    return split


def _both(
    graph: ChannelGraph, slices: Slices, inner: ChannelGraph
) -> Iterator[tuple[NDArray[np.int64], Axis]]:
    """Every axis of the second graph that is what is left of one of the first, with the first one's channels
    of its slots.
    """
    axes = {(axis.name, axis.dim): axis.channels for axis in graph.axes}
    for axis in inner.axes:
        channels = axes.get((axis.name, axis.dim))
        if channels is None:
            continue
        kept = slices.get(axis.name, {}).get(axis.dim)
        left = channels if kept is None else channels[kept]
        if len(left) == len(axis.channels):
            yield left, axis


def joined(origin: Origin, graph: ChannelGraph, plan: Plan, surgery: Surgery) -> tuple[Plan, Surgery] | None:
    """The plan and the surgery that make of the first dense network what a further step makes of a compact
    one.

    Args:
        origin: of the compact model.
        graph: of the compact model.
        plan: what the further step removes from it.
        surgery: how.

    Returns: None where the step cannot be said of the first network: the compact model has other tensors than
        were cut out of it, or couples other channels.
    """
    if origin.dense is None:
        return None
    try:
        dense = graph_for(origin.dense, origin.plan)
        first, second = origin.plan.removed_in(dense), plan.removed_in(graph)
    except PrunusError:  # it cannot be traced again from what is known of its inputs
        return None
    cuts, axes = slices_of(dense, first), {(axis.name, axis.dim): axis for axis in dense.axes}
    removed, kept = first.copy(), dict[tuple[str, int], NDArray[np.int64]]()
    for axis in graph.axes:
        place = (axis.name, axis.dim)
        if place not in axes:
            if axis.name.endswith("bias"):  # one that folding added
                continue
            return None
        channels = axes[place].channels
        slots = cuts.get(axis.name, {}).get(axis.dim, np.arange(len(channels)))
        lost = np.append(second, False)[axis.channels]
        if len(slots) != len(lost) or (channels[slots[lost]] < 0).any():
            return None
        removed[channels[slots[lost]]] = True
        kept[place] = slots[~lost]
    slices = slices_of(dense, removed)
    if any(
        not np.array_equal(slices.get(name, {}).get(dim, np.arange(len(axes[name, dim].channels))), slots)
        for (name, dim), slots in kept.items()
    ):
        return None
    sizes = {(rebind.module, rebind.name): rebind for rebind in (*origin.surgery.rebinds, *surgery.rebinds)}
    again = {width.module for width in surgery.widths}
    widths = (*(width for width in origin.surgery.widths if width.module not in again), *surgery.widths)
    both = make_plan(dense, removed, plan.trials, plan.timings)
    # a step that was not exact cannot be made so by another
    notes = tuple(dict.fromkeys((*both.notes, *origin.plan.notes, *plan.notes)))
    rescales = (*origin.surgery.rescales, *(_before(change, cuts) for change in surgery.rescales))
    return replace(both, notes=notes), Surgery(
        slices, tuple(sizes.values()), rescales, remaps_of(dense, removed), widths
    )


def _before(change: Rescale, cuts: Slices) -> Rescale:
    """The change of a compact model's rows, counted as they are before anything is cut out."""
    rows = cuts.get(change.parameters[0], {}).get(0)
    return change if rows is None else replace(change, rows=tuple(rows[list(change.rows)].tolist()))
