"""Training histories of filters, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from prunus.report.canvas import AFTER, BEFORE, INK, SMALL, entitled, grid, shorten, styled

Row = Mapping[str, Any]


@styled
def norms(groups: Sequence[Row], width: float) -> str:
    """The norm of every filter over the epochs, a panel per layer; of the nearest pairs what stays is solid
    and what goes dashed.
    """
    canvas, panels = grid(width, len(groups), panel=150.0, head=26.0, foot=34.0)
    for axes, group in zip(panels, groups):
        epochs = group["epochs"]
        mark = "o" if len(epochs) == 1 else ""
        for curve in group["others"]:
            axes.plot(epochs, curve, color=BEFORE, linewidth=0.8, marker=mark, markersize=3, zorder=1)
        for pair in group["pairs"]:
            axes.plot(epochs, pair["stays"], color=INK, linewidth=1.4, marker=mark, markersize=4, zorder=2)
            axes.plot(
                epochs,
                pair["goes"],
                color=AFTER,
                linewidth=1.8,
                linestyle=(0, (3, 2)),
                marker=mark,
                markersize=4,
                zorder=3,
            )
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.locator_params(axis="y", nbins=3)
        axes.margins(x=0.01)
        axes.set_xlabel("epoch", fontsize=SMALL, loc="right", labelpad=2)
        entitled(
            canvas,
            axes,
            f"{shorten(group['name'], 28)}: {group['size'] - group['removed']} of {group['size']}",
        )
    return canvas.svg(f"histories-{width:g}", f"Norms of the filters of {len(groups)} layers over the epochs")
