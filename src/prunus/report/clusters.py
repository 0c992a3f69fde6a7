"""Dendrograms of channels that are alike, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import dendrogram

from prunus.report.canvas import AFTER, BEFORE, entitled, grid, shorten, styled

Row = Mapping[str, Any]

MOST_GROUPS = 6


@styled
def dendrograms(groups: Sequence[Row], width: float) -> str:
    """How the channels of a few layers merge: one leaf per channel, filled where it stays; heights are what
    the next layers lose.
    """
    shown = sorted(
        sorted(groups, key=lambda row: sum(row["kept"]) - len(row["kept"]))[:MOST_GROUPS], key=groups.index
    )
    canvas, panels = grid(width, len(shown), panel=132.0, head=26.0, foot=22.0)
    for axes, group in zip(panels, shown):
        _tree(axes, group)
        kept = sum(group["kept"])
        entitled(canvas, axes, f"{shorten(group['name'], 28)}: {kept} of {len(group['kept'])}")
    return canvas.svg(f"clusters-{width:g}", f"Dendrograms of the channels of {len(shown)} layers")


def _tree(axes: Any, group: Row) -> None:
    """One dendrogram with its leaves."""
    drawn = dendrogram(np.array(group["links"], dtype=np.float64), no_plot=True)
    for x, y in zip(drawn["icoord"], drawn["dcoord"]):
        axes.plot([value / 10 - 0.5 for value in x], y, color=BEFORE, linewidth=1, zorder=1)
    order, kept = drawn["leaves"], group["kept"]
    size = max(6.0, min(30.0, 1600 / max(1, len(order))))
    for stays, colour in ((False, BEFORE), (True, AFTER)):
        x = [position for position, leaf in enumerate(order) if kept[leaf] == stays]
        axes.scatter(x, [0.0] * len(x), s=size, color=colour, zorder=2, clip_on=False)
    axes.set_xlim(-0.7, len(order) - 0.3)
    axes.set_ylim(0, 1.05 * max(max(y) for y in drawn["dcoord"]))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.locator_params(axis="y", nbins=3)
