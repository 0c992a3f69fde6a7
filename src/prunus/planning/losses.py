"""Losses per width: what a network loses with a layer at each width, from a few widths at which it was
measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prunus.errors import TargetError
from prunus.paint.graph import ChannelGraph
from prunus.planning.space import Space
from prunus.planning.width_search import Choices, Costs, Kept, place

Losses = NDArray[np.float64]
STEEPEST = (2.0, 8.0)  # powers of the width with which losses grow where they were not measured
MOST_LEVELS = 96  # per group that a search looks at


def curve(size: int, kept: Sequence[int], losses: Sequence[float]) -> Losses:
    """The loss at every width 0 to `size`, shape (size + 1,), from some widths: zero at the full one, never
    falling as channels go, and smooth between (the monotone cubic of Fritsch and Carlson 1980 through the
    roots of the losses, as losses near the original grow with the square of what is wrong). Beyond the
    narrowest it goes on as the power of the width that the last two make, and at least with its inverse
    square: what is left of a layer must not look cheap because nobody looked there.
    """
    points = sorted(zip(kept, losses), reverse=True)
    gone = np.array([0, *(size - width for width, _ in points if width < size)], dtype=np.float64)
    roots = np.sqrt([0.0, *(max(loss, 0.0) for width, loss in points if width < size)])
    roots = np.maximum.accumulate(roots)
    everywhere = np.arange(size + 1, dtype=np.float64)
    if len(gone) < 2:
        return np.zeros(size + 1)
    found = _cubic(gone, roots, np.minimum(everywhere, gone[-1])) ** 2
    narrowest, power = size - gone[-1], STEEPEST[0]
    if roots[-2] > 0:
        slope = 2 * np.log(roots[-1] / roots[-2]) / np.log((size - gone[-2]) / narrowest)
        power = float(np.clip(slope, *STEEPEST))
    beyond = everywhere > gone[-1]
    found[beyond] = roots[-1] ** 2 * (narrowest / np.maximum(size - everywhere[beyond], 0.5)) ** power
    return np.asarray(found[::-1], dtype=np.float64)


def _cubic(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """The monotone cubic through rising points."""
    width, slope = np.diff(x), np.diff(y) / np.diff(x)
    inner = [
        3 * (w + v) / ((w + 2 * v) / left + (v + 2 * w) / right) if left > 0 and right > 0 else 0.0
        for left, right, w, v in zip(slope, slope[1:], width, width[1:])
    ]
    tangent = np.array([slope[0], *inner, slope[-1]])
    piece = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(slope) - 1)
    t, h = (at - x[piece]) / width[piece], width[piece]
    first, last = tangent[piece] * h, tangent[piece + 1] * h
    rise = y[piece + 1] - y[piece]
    bend = 3 * rise - 2 * first - last + t * (first + last - 2 * rise)
    return np.asarray(y[piece] + t * (first + t * bend))


def levels_only(space: Space) -> list[Losses]:
    """What is lost at every number that may be kept, per group shape (levels,)."""
    return [losses[levels] for losses, levels in zip(space.losses, space.levels)]


def least_loss(space: Space, costs: Costs, budget: float) -> Kept:
    """Channels kept per group whose cost is within a budget, at nearly the least sum of measured losses; the
    fewest if none is.
    """
    levels = [_thinned(levels) for levels in space.levels]
    losses = [losses[levels] for losses, levels in zip(space.losses, levels)]
    return place(Choices(costs, levels, losses), budget)


def _thinned(levels: Kept) -> Kept:
    """So many numbers that the search takes seconds for the largest networks."""
    if len(levels) <= MOST_LEVELS:
        return levels
    return levels[np.unique(np.linspace(0, len(levels) - 1, MOST_LEVELS).round().astype(np.int64))]


def check_losses(graph: ChannelGraph, losses: Sequence[Losses] | None) -> tuple[Losses, ...]:
    """The losses, one array per group; raises TargetError where there are none, or of other shapes."""
    if losses is None:
        raise TargetError(
            'scope="measured" needs losses=, what the network loses at every width of every group:'
            " `prunus.methods.sensitivity` measures them."
        )
    found = tuple(np.asarray(one, dtype=np.float64) for one in losses)
    if [one.shape for one in found] != [(group.size + 1,) for group in graph.groups]:
        raise TargetError(
            f"losses must hold one array per group of the graph, of {len(graph.groups)} here, each with the"
            " losses at 0 to all of its channels."
        )
    if not all(np.isfinite(one).all() for one in found):
        raise TargetError("losses must be finite numbers.")
    return found
