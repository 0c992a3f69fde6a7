"""The metric along a run, as inline SVG: beside each other where the names of the steps have room, else one
below the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from prunus.report.canvas import (
    AFTER,
    BEFORE,
    MUTED,
    NARROW,
    PAPER,
    ROW_HEIGHT,
    RULE,
    TEXT,
    Canvas,
    annotate,
    quiet,
    shorten,
    styled,
    width_of,
)
from prunus.report.metric import MetricWords

Row = Mapping[str, Any]
SIDE = 42.0  # pixels at both ends, for half of a name


@styled
def accuracy(steps: Sequence[Row], width: float, metric: MetricWords) -> str:
    """The metric at each step of the run, from before to the end."""
    steps = [{**step, "text": metric.figure(step["value"])} for step in steps]
    draw = _beside_each_other if _fit(steps, width) else _one_below_the_other
    unit = " in percent" if metric.percent else ""
    label = f"{metric.title}{unit}: " + ", ".join(f"{step['step']} {_number(step)}" for step in steps)
    return draw(steps, width).svg(f"accuracy-{width:g}", label)


def _lines(step: Row) -> list[str]:
    """A name in two lines: "after" and what came before it."""
    return str(step["step"]).split(" ", 1)


def _fit(steps: Sequence[Row], width: float, gap: float = 8.0) -> bool:
    """Whether every name, and every number, has room between its neighbours and the ends."""
    apart = (width - 2 * SIDE) / (len(steps) - 0.8)
    each = [max(width_of(text) for text in (*_lines(step), _number(step))) for step in steps]
    ends = max(each[0], each[-1]) / 2 <= SIDE + 0.1 * apart
    return ends and all((one + other) / 2 + gap <= apart for one, other in pairwise(each))


def _beside_each_other(steps: Sequence[Row], width: float) -> Canvas:
    """A line through a point for each step, with its name below."""
    canvas = Canvas(width, 220)
    axes = canvas.axes(left=SIDE, top=30, right=SIDE, bottom=46)
    values = [float(step["value"]) for step in steps]
    low, high = min(values), max(values)
    room = _room(low, high)
    axes.axhline(values[0], color=RULE, linewidth=1, zorder=1)
    axes.plot(values, color=AFTER, linewidth=2, zorder=2)
    axes.scatter(
        range(len(values)), values, s=64, color=_colours(values), edgecolor=PAPER, linewidth=2, zorder=3
    )
    for place, step in enumerate(steps):
        valley = 0 < place < len(values) - 1 and values[place] <= min(values[place - 1], values[place + 1])
        below = valley and values[place] < high - 0.15 * room
        offset, side = (-12.0, "top") if below else (11.0, "bottom")
        annotate(axes, _number(step), (place, values[place]), (0, offset), side)
        # Two texts, not one with a line break: their centring must hold in the page's font, which matplotlib
        # has not.
        for line, words in enumerate(_lines(step)):
            below_axis = (0, -12 - 15 * line)
            annotate(axes, words, (place, 0), below_axis, "top", "center", ("data", "axes fraction"), MUTED)
    axes.set_xlim(-0.1, len(values) - 0.9)
    axes.set_ylim(low - 0.3 * room, high + 0.2 * room)
    quiet(axes, x=False)
    return canvas


def _one_below_the_other(steps: Sequence[Row], width: float) -> Canvas:
    """A row for each step: its name, how far it is from the first, and its number."""
    letters = min(max(len(step["step"]) for step in steps), 20 if width < NARROW else 40)
    canvas = Canvas(width, ROW_HEIGHT * len(steps) + 8)
    right = max(width_of(_number(step)) for step in steps) + 18
    axes = canvas.axes(width_of("n" * letters) + 16, 4, right, 4)
    values, heights = [float(step["value"]) for step in steps], range(len(steps), 0, -1)
    axes.axvline(values[0], color=RULE, linewidth=1, zorder=1)
    axes.hlines(heights, values[0], values, color=AFTER, linewidth=2, zorder=2)
    axes.scatter(
        values, heights, s=64, color=_colours(values), edgecolor=PAPER, linewidth=2, zorder=3, clip_on=False
    )
    for height, step in zip(heights, steps):
        annotate(axes, _number(step), (1, height), (12, 0), "center", "left", ("axes fraction", "data"))
    axes.set_yticks(heights, [shorten(step["step"], letters) for step in steps])
    axes.tick_params(axis="y", pad=12, labelsize=TEXT)
    room = _room(min(values), max(values))
    axes.set_xlim(min(values) - 0.02 * room, max(values) + 0.02 * room)
    axes.set_ylim(0.4, len(steps) + 0.6)
    quiet(axes, x=False, y=True)
    return canvas


def _room(low: float, high: float) -> float:
    """What an axis is as long as: a point at least, or a tenth of numbers that are smaller than that."""
    return max(high - low, min(1.0, 0.1 * max(abs(low), abs(high))) or 1.0)


def _number(step: Row) -> str:
    return str(step["text"])


def _colours(values: Sequence[float]) -> list[str]:
    return [BEFORE, *[AFTER] * (len(values) - 1)]
