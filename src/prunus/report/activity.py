"""The plots of a gated network: what its gates let pass, for which inputs and classes, and what that costs
and saves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.ticker import MaxNLocator

from prunus.report.canvas import (
    AFTER,
    BEFORE,
    INK,
    MUTED,
    NARROW,
    ROW_HEIGHT,
    RULE,
    SMALL,
    TEXT,
    Canvas,
    annotate,
    quiet,
    shorten,
    styled,
)
from prunus.report.words import milliseconds

Row = Mapping[str, Any]
MOST_CLASSES = 20


@styled
def shares(panel: Row, width: float) -> str:
    """How many inputs cost how much [% of the MACs without gates]."""
    canvas = Canvas(width, 190)
    axes = canvas.axes(left=8, top=26, right=14, bottom=42)
    edges = [100 * edge for edge in panel["histogram"]["edges"]]
    counts = panel["histogram"]["counts"]
    axes.bar(edges[:-1], counts, width=[0.9 * (b - a) for a, b in pairwise(edges)], align="edge", color=AFTER)
    axes.axvline(100 * panel["expected"], color=INK, linewidth=1)
    mean = 100 * panel["expected"]
    left = mean > 0.6 * edges[-1]  # where there is no room at its right
    annotate(
        axes,
        f"mean {mean:.1f} %",
        (mean, 1),
        (-5 if left else 5, 8),
        "center",
        "right" if left else "left",
        ("data", "axes fraction"),
    )
    axes.set_xlim(0, edges[-1])
    axes.set_xlabel("MACs of an input, % of those without gates", fontsize=SMALL, loc="right", labelpad=4)
    quiet(axes)
    return canvas.svg(
        f"shares-{width:g}",
        f"MACs over {panel['samples']} inputs, {100 * panel['expected']:.1f} % on average",
    )


@styled
def curve(panel: Row, width: float) -> str:
    """Accuracy [%] against MACs [%], as the budget is turned."""
    canvas = Canvas(width, 230)
    axes = canvas.axes(left=34, top=30, right=40, bottom=44)
    points = panel["curve"]
    x, y = [100 * point["macs"] for point in points], [point["accuracy"] for point in points]
    axes.plot(x, y, color=AFTER, linewidth=2, marker="o", markersize=5)
    chosen = min(range(len(points)), key=lambda i: abs(points[i]["budget"] - panel["budget"]))
    left = x[chosen] > 60  # where there is no room at its right
    text = f"{y[chosen]:.1f} at {x[chosen]:.0f} %"
    annotate(axes, text, (x[chosen], y[chosen]), (6, -12), "top", "right" if left else "left")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlim(0, max(100.0, *x))
    axes.margins(y=0.2)
    axes.set_xlabel("MACs, % of those without gates", fontsize=SMALL, loc="right", labelpad=4)
    axes.set_title("Accuracy, %", loc="left", fontsize=TEXT, color=MUTED, pad=12, x=-34 / (width - 74))
    quiet(axes, y=True)
    return canvas.svg(f"curve-{width:g}", "Accuracy at several budgets")


@styled
def classes(panel: Row, width: float) -> str:
    """Channels open per layer and class: a row per gate, a column per class, the darker the more."""
    groups: Sequence[Row] = panel["groups"]
    names = panel["classes"][:MOST_CLASSES]
    letters = min(max(len(group["name"]) for group in groups), 10 if width < NARROW else 24)
    turned = width < NARROW or len(names) > 10
    left, foot = letters * 7.2 + 12, 24 + 7 * min(10, max(map(len, map(str, names)))) if turned else 36
    canvas = Canvas(width, ROW_HEIGHT * len(groups) + foot + 4)
    axes = canvas.axes(left=left, top=4, right=46, bottom=foot)
    for row, group in enumerate(groups):
        for column, share in enumerate(group["by_class"][: len(names)]):
            axes.bar(
                column,
                0.86,
                width=0.94,
                bottom=len(groups) - row - 0.93,
                color=AFTER,
                alpha=0.06 + 0.94 * share,
            )
        axes.annotate(
            f"{100 * group['open']:.0f} %",
            (1, len(groups) - row - 0.5),
            (6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=TEXT,
            color=INK,
            va="center",
        )
    axes.set_ylim(0, len(groups))
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(
        range(len(names)), [shorten(str(name), 10) for name in names], rotation=90 if turned else 0
    )
    axes.set_yticks(
        [len(groups) - row - 0.5 for row in range(len(groups))],
        [shorten(group["name"], letters) for group in groups],
    )
    axes.tick_params(axis="y", pad=6, labelsize=TEXT)
    quiet(axes, y=True)
    return canvas.svg(
        f"classes-{width:g}", f"Share of open channels of {len(groups)} gates for {len(names)} classes"
    )


@styled
def percentiles(measured: Sequence[Row], width: float) -> str:
    """Latency [ms] per runtime, with all channels and with gates: the median as a bar, the 95th percentile as
    its tip.
    """
    runtimes = list(dict.fromkeys(row["runtime"] for row in measured))
    block, head, left = 92.0, 4.0, 96
    canvas = Canvas(width, head + block * len(runtimes))
    for place, runtime in enumerate(runtimes):
        rows = [row for row in measured if row["runtime"] == runtime]
        axes = canvas.axes(left, head + place * block + 26, 64, (len(runtimes) - 1 - place) * block + 12)
        axes.set_title(
            f"{runtime}, one input at a time",
            loc="left",
            fontsize=TEXT,
            color=MUTED,
            pad=6,
            x=-left / (width - left - 64),
        )
        for height, (row, colour) in enumerate(zip(reversed(rows), (AFTER, BEFORE))):
            axes.barh(height, row["p50"], height=0.5, color=colour)
            axes.plot([row["p50"], row["p95"]], [height, height], color=RULE, linewidth=2)
            axes.annotate(
                milliseconds(row["p50"]),
                (max(row["p50"], row["p95"]), height),
                (8, 0),
                textcoords="offset points",
                fontsize=TEXT,
                color=INK,
                va="center",
            )
        axes.set_yticks(range(len(rows)), [row["network"] for row in reversed(rows)])
        axes.set_ylim(-0.5, len(rows) - 0.5)
        axes.set_xlim(0, max(row["p95"] for row in rows))
        quiet(axes, x=False, y=True)
    return canvas.svg(
        f"percentiles-{width:g}",
        "Median and 95th percentile of the latency, with all channels and with gates",
    )
