"""The chart of several runs: accuracy against a cost, every point with its name, and the front of those that
are not undercut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prunus.report import words
from prunus.report.canvas import AFTER, INK, MUTED, NARROW, PAPER, RULE, SMALL, TEXT, Canvas, shorten, styled
from prunus.report.labels import HIGH, LETTER, NEAR, Box, around, hidden, least_hidden, shared
from prunus.report.runs import Point, Quantity, Runs

NAMES: dict[Quantity, str] = {"macs": "MACs", "latency_ms": "latency", "bytes": "size"}
WRITTEN: dict[Quantity, Callable[[float], str]] = {
    "macs": words.count,
    "latency_ms": words.milliseconds,
    "bytes": words.size,
}
WIDE_RANGE = 12.0  # from so many times the least on, costs are drawn by their logarithm
WIDE_ERRORS = 4.0  # likewise the shares of wrong answers: one bad run must not press all others together
MOST_HIDDEN = 0.2  # of a name: where more would be hidden, or would hide others, it is left out
LEFT, FOOT = 34.0, 44.0  # pixels for the numbers of the axes


@styled
def front(runs: Runs, quantity: Quantity, width: float) -> str:
    """Accuracy [%] against one cost."""
    narrow = width < NARROW
    canvas = Canvas(width, 300 if narrow else 340)
    axes = canvas.axes(left=LEFT, top=30, right=8, bottom=FOOT)
    points = [point for point in runs.points if point.cost(quantity) is not None]
    best = runs.front(quantity)
    costs = {point.name: float(point.cost(quantity) or 0.0) for point in points}
    _scale_accuracy(axes, [point.accuracy for point in points], runs.samples)
    unit = _scale_cost(axes, list(costs.values()), quantity, 5 if narrow else 8)
    _stairs(axes, [costs[point.name] for point in best], [point.accuracy for point in best])
    for point in sorted(points, key=lambda point: point in best):
        filled = point in best or point.original
        axes.scatter(
            [costs[point.name]],
            [point.accuracy],
            s=64 if filled else 46,
            marker="D" if point.original else "o",
            zorder=3,
            clip_on=False,
            facecolor=PAPER if not filled else INK if point.original else AFTER,
            edgecolor=PAPER if filled else MUTED,
            linewidth=1.6,
        )
    _names(axes, canvas, points, best, costs, 16 if narrow else 30)
    axes.set_xlabel(
        f"{NAMES[quantity]}, {unit}" if unit else NAMES[quantity], fontsize=SMALL, loc="right", labelpad=4
    )
    axes.set_title(
        "accuracy, %", loc="left", fontsize=SMALL, color=MUTED, pad=12, x=-LEFT / (width - LEFT - 8)
    )
    written = (
        f"{point.name} {point.accuracy:.1f} % at {WRITTEN[quantity](costs[point.name])}" for point in best
    )
    return canvas.svg(
        f"front-{quantity}-{width:g}",
        f"Accuracy against {NAMES[quantity]}; on the front: {', '.join(written)}",
    )


def _scale_accuracy(axes: Axes, accuracies: Sequence[float], samples: int) -> None:
    """Accuracies with some room around them; by the logarithm of the share of wrong answers where that
    differs much.
    """
    least = 50.0 / samples  # half of a sample stands for no error at all
    wrong = [max(100 - accuracy, least) for accuracy in accuracies]
    if max(wrong) <= WIDE_ERRORS * min(wrong):
        room = 0.14 * max(max(accuracies) - min(accuracies), 0.5)
        axes.set_ylim(min(accuracies) - room, max(accuracies) + room)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    else:

        def forward(accuracy: Any) -> Any:
            return -np.log10(np.maximum(100 - accuracy, least))

        axes.set_yscale("function", functions=(forward, lambda height: 100 - 10**-height))
        room = (max(wrong) / min(wrong)) ** 0.14
        axes.set_ylim(100 - max(wrong) * room, 100 - min(wrong) / room)
        axes.set_yticks([100 - one for one in _round(min(wrong), max(wrong) * room, 6)])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _scale_cost(axes: Axes, costs: Sequence[float], quantity: Quantity, most: int) -> str:
    """Costs from zero, or by their logarithm where they are far apart; the unit of the
    numbers at the axis.
    """
    high, low = max(costs), min(costs)
    if high > WIDE_RANGE * low > 0:
        axes.set_xscale("log")
        room = (high / low) ** 0.08
        axes.set_xlim(low / room, high * room)
        axes.set_xticks(_round(low / room, high * room, most), minor=False)
        axes.set_xticks([], minor=True)
    else:
        axes.set_xlim(0, 1.06 * high)
        axes.xaxis.set_major_locator(MaxNLocator(most))
    end = "B" if quantity == "bytes" else ""
    sizes = ((1e9, "G"), (1e6, "M"), (1e3, "k")) if quantity != "latency_ms" else ()
    divisor, unit = next(
        ((size, f"{name}{end}") for size, name in sizes if high >= size),
        (1.0, "ms" if quantity == "latency_ms" else end),
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / divisor:.4g}")
    return unit


def _round(low: float, high: float, most: int) -> list[float]:
    """Numbers between two others that are 1, 2 or 5 times a power of ten, or fewer of them."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [
            digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high
        ]
        if len(found) <= most:
            break
    return found


def _stairs(axes: Axes, costs: Sequence[float], accuracies: Sequence[float]) -> None:
    """The best accuracy that may be had for a cost: up at every point of the front, level until the next."""
    right, floor = axes.get_xlim()[1], axes.get_ylim()[0]
    axes.step(
        [costs[0], *costs, right],
        [floor, *accuracies, accuracies[-1]],
        where="post",
        color=AFTER,
        linewidth=1.5,
        alpha=0.45,
        zorder=2,
    )


def _names(
    axes: Axes,
    canvas: Canvas,
    points: Sequence[Point],
    best: Sequence[Point],
    costs: dict[str, float],
    letters: int,
) -> None:
    """Each name beside its point where it hides least, if there is room: those of the front choose first."""
    places = {point.name: axes.transData.transform((costs[point.name], point.accuracy)) for point in points}
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in places.values()]
    taken.append((0, canvas.height - 26, 80, canvas.height))  # what the axis is called
    room, named = (LEFT, FOOT, canvas.width, canvas.height - 2), list[Box]()
    for point in sorted(points, key=lambda point: (point not in best, not point.original)):
        text = shorten(point.name, letters)
        x, y = places[point.name]
        boxes = around(x, y, LETTER * len(text))
        chosen = least_hidden(boxes, taken, room)
        crowded = hidden(boxes[chosen], taken, room) > MOST_HIDDEN * HIGH * LETTER * len(text)
        if crowded or any(shared(boxes[chosen], other) for other in named):
            continue  # the table has its name
        left, bottom, right, top = boxes[chosen]
        taken.append(boxes[chosen])
        named.append(boxes[chosen])
        axes.annotate(
            text,
            (costs[point.name], point.accuracy),
            ((left + right) / 2 - x, (bottom + top) / 2 - y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=TEXT,
            color=INK if point in best or point.original else MUTED,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 5}
            if chosen >= NEAR
            else None,
        )
