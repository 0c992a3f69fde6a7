"""What a target may choose from: how many channels every group may keep, and in which order they go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError, TargetError
from prunus.paint.folding import unfoldable_channels
from prunus.paint.graph import ChannelGraph, Group


@dataclass(frozen=True, eq=False)
class Space:
    """What a target may choose from: per group the channels from worst to best, and the numbers that may be
    kept, ascending; and where it was measured, what is lost with 0 to all of them left.
    """

    graph: ChannelGraph
    scores: NDArray[np.float64]
    order: tuple[NDArray[np.int64], ...]
    levels: tuple[NDArray[np.int64], ...]
    losses: tuple[NDArray[np.float64], ...] = ()

    def removed(self, kept: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Boolean array over the channels: the worst of every group go."""
        result = np.zeros(self.graph.num_channels, dtype=bool)
        for order, keep in zip(self.order, kept):
            result[order[: len(order) - int(keep)]] = True
        return result

    def smallest(self) -> NDArray[np.int64]:
        """The fewest channels that every group may keep."""
        return np.array([levels[0] for levels in self.levels], dtype=np.int64)

    def widest(self) -> NDArray[np.int64]:
        """The most channels that every group may keep."""
        return np.array([levels[-1] for levels in self.levels], dtype=np.int64)

    def nearest(self, wanted: NDArray[np.float64]) -> NDArray[np.int64]:
        """Per group the allowed number closest to `wanted`, the smaller one when in doubt."""
        return np.array(
            [levels[np.argmin(np.abs(levels - w))] for levels, w in zip(self.levels, wanted)], dtype=np.int64
        )

    def at_least(self, wanted: NDArray[np.float64]) -> NDArray[np.int64]:
        """Per group the smallest allowed number that is not below `wanted` (the largest allowed if there is
        none).
        """
        picked = [
            levels[min(int(np.searchsorted(levels, w - 1e-9)), len(levels) - 1)]
            for levels, w in zip(self.levels, wanted)
        ]
        return np.array(picked, dtype=np.int64)


def space_for(
    graph: ChannelGraph,
    scores: Tensor,
    round_to: int,
    floor: int,
    protect: Sequence[str],
    rates: Mapping[str, float],
    exact: bool,
    stairs: bool = False,
) -> tuple[Space, dict[int, int]]:
    """The choices per group, and the groups whose number is already fixed by `protect` or `rates`; with
    `stairs`, rounding is a wish.
    """
    values = _check_scores(graph, scores)
    if round_to < 1 or floor < 1:
        raise TargetError(f"round_to and floor must be at least 1, not {round_to} and {floor}.")
    fixed: dict[int, int] = {}
    for pattern, rate in rates.items():
        for group in matching(graph, pattern):
            kept = group.size - math.floor(check_rate(rate) * group.size + 1e-9)
            fixed.setdefault(group.index, max(min(floor, group.size), kept))
    for pattern in protect:
        for group in matching(graph, pattern):
            fixed[group.index] = group.size
    order, levels = [], []
    steps, offsets = (
        _steps(graph, round_to, fixed) if round_to > 1 else ([1] * len(graph.groups), [0] * len(graph.groups))
    )
    frozen = _inexact_channels(graph) if exact else np.zeros(graph.num_channels, dtype=bool)
    for group in graph.groups:
        keys = np.where(frozen[group.channels], np.inf, values[group.channels])
        order.append(group.channels[np.argsort(keys, kind="stable")])
        least = max(min(floor, group.size), int(frozen[group.channels].sum()))
        found = _levels(group, least, steps[group.index], offsets[group.index], fixed.get(group.index))
        levels.append(
            _stairs(found, group.size, least, round_to) if stairs and group.index not in fixed else found
        )
    return Space(graph, np.where(frozen, np.inf, values), tuple(order), tuple(levels)), fixed


def _levels(group: Group, least: int, step: int, offset: int, fixed: int | None) -> NDArray[np.int64]:
    """Numbers of channels that a group may keep, ascending: `offset` plus multiples of `step`, or all of them
    if none fits.
    """
    levels = np.arange(offset, group.size + 1, step)
    levels = levels[levels >= max(1, least)]
    levels = levels if len(levels) else np.array([group.size])
    if fixed is not None:
        below = levels[levels <= fixed]
        levels = np.array([fixed if fixed == group.size or not len(below) else below[-1]])
    return levels.astype(np.int64)


def _stairs(levels: NDArray[np.int64], size: int, least: int, step: int) -> NDArray[np.int64]:
    """The edges of stairs, half of the first one (kernels for few channels differ) and all channels; any
    number, for a group without an edge.
    """
    edges = np.unique([*levels, *(half for half in [step // 2] if least <= half < size), size])
    return edges if len(edges) > 1 else np.arange(least, size + 1)


def _steps(graph: ChannelGraph, round_to: int, fixed: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """Per group the step and the offset of its numbers, so that every layer's width is a multiple of
    `round_to`.

    Several groups, and pinned slots, may share a layer. Groups that are too small for a step stay whole; what
    they and the pinned slots leave over is made up for by the largest of the others.
    """
    sizes = np.array([g.size for g in graph.groups], dtype=np.int64)
    widths = [a for a in graph.axes if a.is_parameter and a.produces and (a.channels >= 0).any()]
    slots = [
        np.bincount(graph.group_of_channel[a.channels[a.channels >= 0]], minlength=len(sizes)) for a in widths
    ]
    steps, offsets = [1] * len(sizes), [0] * len(sizes)
    for count in slots:
        for g in np.flatnonzero(count).tolist():
            steps[g] = math.lcm(steps[g], round_to // math.gcd(round_to, int(count[g] // sizes[g])))
    whole = {g for g in range(len(sizes)) if sizes[g] < steps[g]} | {
        g for g, kept in fixed.items() if kept == sizes[g]
    }
    for axis, count in zip(widths, slots):
        rest = (int((axis.channels < 0).sum()) + sum(int(count[g]) for g in whole)) % round_to
        free = [g for g in np.flatnonzero(count).tolist() if g not in whole]
        if rest and free and len(axis.channels) >= round_to:
            largest = max(free, key=lambda g: int(count[g]))
            each = int(count[largest] // sizes[largest])
            fitting = [k for k in range(steps[largest]) if (k * each + rest) % round_to == 0]
            offsets[largest] = fitting[0] if fitting else offsets[largest]
    for g in whole:
        steps[g], offsets[g] = 1, int(sizes[g])
    return steps, offsets


def _inexact_channels(graph: ChannelGraph) -> NDArray[np.bool_]:
    result = np.zeros(graph.num_channels, dtype=bool)
    for one in graph.forwards:
        result |= unfoldable_channels(one)
        for note in one.notes:
            result[note.channels] = True
    return result


@door(PlanError)
def matching(graph: ChannelGraph, pattern: str) -> list[Group]:
    """Groups that a parameter or module name with this glob pattern writes to; raises PlanError if the
    pattern matches nothing.
    """
    axes = {(axis.name, axis.dim): axis for axis in graph.axes}
    if not any(_matches(axis.name, pattern) for axis in graph.axes):
        raise PlanError(
            f"The pattern {pattern!r} matches no parameter or module of {type(graph.model).__name__};"
            " print(graph) lists the names."
        )
    return [g for g in graph.groups if any(axes[m].produces and _matches(m[0], pattern) for m in g.members)]


def _matches(parameter: str, pattern: str) -> bool:
    """A pattern may name a parameter, its module, or any module around it."""
    parts = parameter.split(".")
    return any(fnmatchcase(".".join(parts[:n]), pattern) for n in range(1, len(parts) + 1))


def _check_scores(graph: ChannelGraph, scores: Tensor) -> NDArray[np.float64]:
    if scores.is_meta or scores.is_complex():
        raise PlanError(
            "Scores must be real numbers, not a tensor"
            f" {'without values, on meta' if scores.is_meta else f'of {scores.dtype}'}."
        )
    values = scores.detach().to("cpu", torch.float64).numpy().reshape(-1)
    if len(values) != graph.num_channels:
        raise PlanError(
            f"There are {len(values)} scores for {graph.num_channels} channels; a score is one number per"
            " channel of this graph."
        )
    if np.isnan(values).any():
        raise PlanError(
            f"{int(np.isnan(values).sum())} scores are not a number; the first is that of channel"
            f" {int(np.flatnonzero(np.isnan(values))[0])}."
        )
    return values


def check_rate(rate: float) -> float:
    """The rate itself; raises TargetError if it is no fraction."""
    if not 0 <= rate <= 1:
        hint = f"; did you mean {rate / 100:g}" if 1 < rate <= 100 else ""
        raise TargetError(f"A rate is the fraction of channels to remove, from 0 to 1, not {rate}{hint}.")
    return rate
