"""The frontier of training time as a drawing: accuracy over cost, a panel for every set of data and all full
schedules.

python -m benchmarks.frontier_plot
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from benchmarks.environment import RESULTS
from benchmarks.frontier_table import ALIKE, at_best, converged
from benchmarks.frontier_variants import (
    AT_ONCE,
    CONTROL,
    EASY_AT_ONCE,
    FAST,
    FAST_AT_ONCE,
    REMOVAL,
    RULE,
    SCRATCH,
)
from benchmarks.rows import Row, kept
from prunus.report.canvas import AFTER, BEFORE, INK, MUTED, SMALL, entitled, grid, styled
from prunus.report.canvas import RULE as LINE

FILE = Path(__file__).parents[1] / "docs/img/frontier.svg"
LINES = {
    CONTROL: ("all data, shortened", INK, "o-"),
    SCRATCH: ("half of the MACs, from scratch", MUTED, "o-"),
    RULE: ("two-fold, half of the MACs left", AFTER, "o-"),
    AT_ONCE: ("two-fold, filters gone early", AFTER, "D-"),
    EASY_AT_ONCE: ("the same, easy samples gone by chance", AFTER, "^--"),
    REMOVAL: ("all data, filters gone in the middle", AFTER, "s-"),
    FAST: ("fast", BEFORE, "o-"),
    FAST_AT_ONCE: ("fast and two-fold, filters gone early", BEFORE, "D-"),
}
WIDTH, PANEL = 760.0, 210.0  # pixels
COLOURS = """<style>
svg { --ink: #1c1c1a; --muted: #6d6b64; --rule: #d9d6cd; --before: #9a5b13; --after: #2f6d4f; --paper: #fff;
  background: #fff; font-family: system-ui, sans-serif; }
</style>"""


def main() -> None:
    FILE.write_text(drawing(converged(at_best(kept(RESULTS / "frontier.json")["rows"])), WIDTH))


@styled
def drawing(rows: Sequence[Row], width: float) -> str:
    """All panels, as one SVG file."""
    kinds = list(dict.fromkeys(tuple(row[name] for name in ALIKE) for row in rows))
    canvas, panels = grid(width, len(kinds), panel=PANEL, head=88, foot=44)
    for kind, axes in zip(kinds, panels, strict=True):
        called, network, _ = kind
        entitled(canvas, axes, f"{called}, {network}: accuracy, %")
        here = [row for row in rows if tuple(row[name] for name in ALIKE) == kind]
        epochs = min(row["epochs"] for row in here)
        panel(axes, here, epochs)
        axes.set_xlabel(f"cost, of {epochs} epochs", fontsize=SMALL, loc="right", labelpad=4)
    handles = {title: handle for axes in panels for handle, title in zip(*axes.get_legend_handles_labels())}
    titles = [title for title, _, _ in LINES.values() if title in handles]
    canvas.figure.legend(
        [handles[title] for title in titles],
        titles,
        loc="upper left",
        ncols=3,
        frameon=False,
        fontsize=SMALL,
        labelcolor="linecolor",
    )
    svg = canvas.svg("frontier", "Accuracy over the cost of training")
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{COLOURS}", 1)


def panel(axes: Axes, rows: Sequence[Row], epochs: int) -> None:
    """One set of data: every way's accuracies, with their standard deviation, joined over the costs, which
    are of so many epochs.
    """
    scaled = [row | {name: row[name] * row["epochs"] / epochs for name in ("cost", "budget")} for row in rows]
    axes.set_xscale("log")
    for name, (title, colour, style) in LINES.items():
        here = [row for row in scaled if row["variant"] == name]
        each = [[row for row in here if row["budget"] == one] for one in sorted({r["budget"] for r in here})]
        if not each:
            continue
        axes.errorbar(
            [mean(row["cost"] for row in some) for some in each],
            [mean(row["accuracy"] for row in some) for some in each],
            [stdev(row["accuracy"] for row in some) if len(some) > 1 else 0.0 for some in each],
            color=colour,
            label=title,
            linewidth=1.6,
            fmt=style,
            markersize=5,
            elinewidth=1,
        )
    costs = sorted({row["budget"] for row in scaled})
    axes.set_xticks(costs, [f"{cost:g}" for cost in costs])
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=LINE, linewidth=0.6)


if __name__ == "__main__":
    main()
