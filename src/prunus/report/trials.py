"""The search for a tolerance, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prunus.report.canvas import (
    AFTER,
    INK,
    MUTED,
    PAPER,
    SMALL,
    TEXT,
    Canvas,
    annotate,
    shorten,
    styled,
    width_of,
)
from prunus.report.labels import HIGH, Box, around, least_hidden
from prunus.report.metric import MetricWords

Row = Mapping[str, Any]
LEFT, TOP, RIGHT, FOOT = 34.0, 34.0, 30.0, 44.0  # pixels around the axes


@styled
def search(trials: Sequence[Row], limit: float, width: float, metric: MetricWords, cost: str = "MACs") -> str:
    """Every trial of the tolerance search: what is left of a cost [%] against the metric on the validation
    split.
    """
    canvas = Canvas(width, 260)
    axes = canvas.axes(left=LEFT, top=TOP, right=RIGHT, bottom=FOOT)
    for accepted, face in ((True, AFTER), (False, PAPER)):
        chosen = [trial for trial in trials if bool(trial["accepted"]) == accepted]
        x, y = [100 * trial["left"] for trial in chosen], [trial["value"] for trial in chosen]
        axes.vlines(x, [_lowest(trial) for trial in chosen], y, color=AFTER, linewidth=1, zorder=2)
        axes.scatter(x, y, s=46, facecolor=face, edgecolor=AFTER, linewidth=1.5, zorder=3)
    axes.axhline(limit, color=MUTED, linewidth=1, zorder=1)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=metric.percent))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(0, 1.05 * max(100 * trial["left"] for trial in trials))
    heights = [limit, *(trial["value"] for trial in trials), *map(_lowest, trials)]
    room = 0.15 * (max(max(heights) - min(heights), 0.5 if metric.percent else 0.0) or 1.0)
    axes.set_ylim(min(heights) - room, max(heights) + room)
    _name(axes, canvas, trials, limit, metric)
    axes.set_xlabel(f"{cost} left, %", fontsize=SMALL, loc="right", labelpad=4)
    axes.set_title(
        f"Validation {shorten(metric.name, 24)}{metric.unit}",
        loc="left",
        fontsize=TEXT,
        color=MUTED,
        pad=14,
        x=-LEFT / (width - LEFT - RIGHT),
    )
    passed = sum(bool(trial["accepted"]) for trial in trials)
    return canvas.svg(f"search-{width:g}", f"Tolerance search: {len(trials)} trials, {passed} accepted")


def _name(axes: Axes, canvas: Canvas, trials: Sequence[Row], limit: float, metric: MetricWords) -> None:
    """Say which line is the limit and which trial was chosen, where that hides no other."""
    taken: list[Box] = []
    for trial in trials:
        x, high = axes.transData.transform((100 * trial["left"], trial["value"]))
        low = axes.transData.transform((100 * trial["left"], _lowest(trial)))[1]
        taken += [(x - 6, high - 6, x + 6, high + 6), (x - 2, low, x + 2, high)]
    room = (LEFT, FOOT, canvas.width, canvas.height - TOP + 10)
    line = float(axes.transData.transform((0, limit))[1])
    text = f"limit {metric.figure(limit)}"
    ends = [canvas.width - RIGHT - width_of(text), LEFT + 6]
    places = [
        (left, line + lift, left + width_of(text), line + lift + HIGH)
        for lift in (-17.0, 4.0)
        for left in ends
    ]
    taken.append(_write(axes, text, places, taken, room, MUTED))
    taken.append((LEFT, line - 2, canvas.width - RIGHT, line + 2))
    passed = [trial for trial in trials if trial["accepted"]]
    if passed:
        best = min(passed, key=lambda trial: float(trial["left"]))
        text = f"chosen: {100 * best['left']:.0f} %"
        x, y = axes.transData.transform((100 * best["left"], best["value"]))
        _write(axes, text, around(x, y, width_of(text)), taken, room, INK)


def _write(axes: Axes, text: str, places: Sequence[Box], taken: Sequence[Box], room: Box, colour: str) -> Box:
    """A label at the best of some places; the box that it takes."""
    box = places[least_hidden(places, taken, room)]
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    annotate(axes, text, (0, 0), middle, "center", "center", "figure pixels", colour)
    return box


def _lowest(trial: Row) -> float:
    return float(trial.get("lowest", trial["value"]))
