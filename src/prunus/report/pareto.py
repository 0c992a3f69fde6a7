"""The chart of several runs: accuracy against a cost, every point with its name, and the front of those that are not undercut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from prunus.report import words
from prunus.report.canvas import AFTER, INK, MUTED, PAPER, RULE, SMALL, TEXT, Canvas, shorten, styled
from prunus.report.plots import NARROW
from prunus.report.runs import Point, Quantity, Runs

WRITTEN: dict[Quantity, tuple[str, Callable[[float], str]]] = {
    "macs": ("MACs of an input", words.count),
    "latency_ms": ("latency", words.milliseconds),
    "bytes": ("size of the parameters", words.size),
}
WIDE_RANGE = 12.0  # from so many times the least on, costs are drawn by their logarithm
LETTER = 6.5  # pixels, of the text size on average
AWAY = 9.0  # pixels between a point and its name
Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


@styled
def front(runs: Runs, quantity: Quantity, width: float) -> str:
    """Accuracy [%] against one cost."""
    narrow = width < NARROW
    canvas = Canvas(width, 300 if narrow else 340)
    axes = canvas.axes(left=34, top=30, right=8, bottom=44)
    points = [point for point in runs.points if point.cost(quantity) is not None]
    best = runs.front(quantity)
    costs = {point.name: float(point.cost(quantity) or 0.0) for point in points}
    title, write = WRITTEN[quantity]
    _scale(axes, list(costs.values()), [point.accuracy for point in points], write)
    _stairs(axes, [costs[point.name] for point in best], [point.accuracy for point in best])
    for point in sorted(points, key=lambda point: point in best):
        chosen = point in best
        axes.scatter(
            [costs[point.name]], [point.accuracy], s=64 if chosen else 46, marker="D" if point.original else "o", zorder=3,
            facecolor=(INK if point.original else AFTER) if chosen else PAPER, edgecolor=PAPER if chosen else INK if point.original else MUTED,
            linewidth=1.6, clip_on=False,
        )  # fmt: skip
    _names(axes, canvas, points, best, costs, 16 if narrow else 30)
    axes.set_xlabel(title, fontsize=SMALL, loc="right", labelpad=4)
    axes.set_title("Accuracy, %", loc="left", fontsize=TEXT, color=MUTED, pad=12, x=-34 / (width - 42))
    label = f"Accuracy against {title}; on the front: " + ", ".join(
        f"{point.name} {point.accuracy:.1f} % at {write(costs[point.name])}" for point in best
    )
    return canvas.svg(f"front-{quantity}-{width:g}", label)


def _scale(axes: Axes, costs: Sequence[float], accuracies: Sequence[float], write: Callable[[float], str]) -> None:
    """Costs from zero, or by their logarithm where they are far apart; accuracies with some room."""
    if max(costs) > WIDE_RANGE * min(costs) > 0:
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.3, max(costs) * 1.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(LogLocator(subs=(), numticks=1))
    else:
        axes.set_xlim(0, 1.06 * max(costs))
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: write(value))
    room = max(max(accuracies) - min(accuracies), 0.5)
    axes.set_ylim(min(accuracies) - 0.12 * room, max(accuracies) + 0.12 * room)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def _stairs(axes: Axes, costs: Sequence[float], accuracies: Sequence[float]) -> None:
    """The best accuracy that may be had for a cost: up at every point of the front, level until the next."""
    right, floor = axes.get_xlim()[1], axes.get_ylim()[0]
    axes.step([costs[0], *costs, right], [floor, *accuracies, accuracies[-1]], where="post", color=AFTER, linewidth=1.5, alpha=0.45, zorder=2)


def _names(axes: Axes, canvas: Canvas, points: Sequence[Point], best: Sequence[Point], costs: dict[str, float], letters: int) -> None:
    """Each name beside its point where it hides least: those of the front choose first."""
    places = {point.name: axes.transData.transform((costs[point.name], point.accuracy)) for point in points}
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in places.values()]
    for point in sorted(points, key=lambda point: (point not in best, not point.original)):
        text = shorten(point.name, letters)
        x, y = places[point.name]
        left, bottom, right, top = min(_around(x, y, LETTER * len(text)), key=lambda box: _hidden(box, taken, canvas))
        taken.append((left, bottom, right, top))
        axes.annotate(
            text, (costs[point.name], point.accuracy), ((left + right) / 2 - x, (bottom + top) / 2 - y), textcoords="offset points",
            ha="center", va="center", fontsize=TEXT, color=INK if point in best else MUTED, annotation_clip=False,
        )  # fmt: skip


def _around(x: float, y: float, wide: float) -> list[Box]:
    """Where a name may stand, the best place first: above and left of a front there is room, because nothing is better."""
    high, near = 15.0, AWAY * 0.7
    corners = [
        (x - near - wide, y + 2), (x - AWAY - wide, y - high / 2), (x + AWAY, y - high / 2), (x - wide / 2, y + AWAY), (x + near, y - high - 2),
        (x - wide / 2, y - AWAY - high), (x + near, y + 2), (x - near - wide, y - high - 2),
        (x - wide / 2, y + AWAY + high), (x - wide / 2, y - AWAY - 2 * high),
    ]  # fmt: skip
    return [(left, bottom, left + wide, bottom + high) for left, bottom in corners]


def _hidden(box: Box, taken: Sequence[Box], canvas: Canvas) -> float:
    """Square pixels that a name would hide or lose."""
    left, bottom, right, top = box
    inside = max(0.0, min(right, canvas.width) - max(left, 0.0)) * max(0.0, min(top, canvas.height) - max(bottom, 44.0))
    lost = (right - left) * (top - bottom) - inside
    return lost + sum(max(0.0, min(right, other[2]) - max(left, other[0])) * max(0.0, min(top, other[3]) - max(bottom, other[1])) for other in taken)
