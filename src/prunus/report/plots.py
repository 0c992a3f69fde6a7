"""The plots of the report: plain functions from parts of a result to inline SVG, for any width in pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from prunus.report.canvas import (
    AFTER,
    BEFORE,
    INK,
    MUTED,
    NARROW,
    PAPER,
    ROW_HEIGHT,
    RULE,
    SMALL,
    TEXT,
    Canvas,
    annotate,
    quiet,
    shorten,
    spread,
    styled,
    width_of,
)
from prunus.report.labels import levels
from prunus.report.metric import MetricWords
from prunus.report.words import MINUS, count, milliseconds, number

Row = Mapping[str, Any]

# From so many layers on, one labelled row each would be a wall: they become a skyline.
MOST_ROWS = 24
MOST_COLUMNS = 50
MOST_LETTERS = 24  # of a metric, whose name may be the user's
LINE = 15.0  # pixels between two lines of text


@styled
def layers(rows: Sequence[Row], quantity: str, width: float) -> str:
    """A quantity ("width" or "macs") of every layer before and after: bars from zero, the
    kept part filled.
    """
    write: Callable[[float], str] = count if quantity == "macs" else lambda value: f"{value:.0f}"
    what = "MACs" if quantity == "macs" else "Channels"
    label = f"{what} of {len(rows)} layers before and after"
    draw = _rows if len(rows) <= MOST_ROWS else _skyline
    canvas = draw(rows, f"{quantity}_before", f"{quantity}_after", write, width)
    return canvas.svg(f"{quantity}-{width:g}", label)


@styled
def training(stages: Sequence[Row], width: float, metric: MetricWords) -> str:
    """Loss, and the metric on both splits, over the epochs of all stages in a row."""
    curves = [
        ("Loss", _recorded(stages, "loss")),
        (f"{shorten(metric.title, MOST_LETTERS)}{metric.unit}", _recorded(stages, "accuracy")),
    ]
    curves = [(title, series) for title, series in curves if series]
    columns = 1 if width < NARROW else len(curves)
    each, left, right, foot, panel = width / columns, 44.0, 104.0, 38.0, 156.0
    names = _stage_names(stages, each - left - right, right)
    head = 46.0 + LINE * max((name.level for name in names), default=0)
    lines = len(curves) // columns
    canvas = Canvas(width, lines * (head + panel + foot))
    for place, (title, series) in enumerate(curves):
        line, column = divmod(place, columns)
        start, top = left + column * each, line * (head + panel + foot) + head
        axes = canvas.axes(start, top, width - (column + 1) * each + right, canvas.height - top - panel)
        _curves(axes, stages, series)
        for name in names:
            annotate(
                axes,
                name.text,
                (0, 1),
                (name.start, 6 + LINE * name.level),
                "bottom",
                "left",
                "axes fraction",
                MUTED,
            )
        axes.set_title(
            title, loc="left", fontsize=TEXT, color=MUTED, pad=head - 18, x=-left / _pixels(canvas, axes)
        )
        axes.set_xlabel("epoch", fontsize=SMALL, loc="right", labelpad=2)
    what = " and ".join(title.split(",")[0].lower() for title, _ in curves)
    return canvas.svg(f"training-{width:g}", f"Training curves: {what} by epoch")


@styled
def kept(samples: Sequence[int], total: int, width: float) -> str:
    """Share [%] of all samples that every epoch trained on: one column per epoch."""
    canvas = Canvas(width, 180)
    axes = canvas.axes(left=34, top=12, right=4, bottom=34)
    shares = [100 * count / total for count in samples]
    places = range(1, len(shares) + 1)
    axes.bar(places, [100.0] * len(shares), width=0.72, color=RULE)
    axes.bar(places, shares, width=0.72, color=AFTER)
    axes.set_xlim(0.4, len(shares) + 0.6)
    axes.set_ylim(0, 100)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch", fontsize=SMALL, loc="right", labelpad=2)
    average = sum(shares) / len(shares)
    return canvas.svg(f"kept-{width:g}", f"Samples of each epoch: {average:.0f} % on average")


@styled
def seconds(epochs: Sequence[Row], width: float) -> str:
    """Wall time [s] of every epoch of a training, without validation: one column per epoch, what went into
    choosing samples in another colour.
    """
    canvas = Canvas(width, 180)
    axes = canvas.axes(left=44, top=12, right=4, bottom=34)
    times = [epoch["seconds"] for epoch in epochs]
    places = range(1, len(times) + 1)
    axes.bar(places, times, width=0.72, color=AFTER)
    axes.bar(places, [epoch.get("choosing_seconds", 0.0) for epoch in epochs], width=0.72, color=BEFORE)
    axes.set_xlim(0.4, len(times) + 0.6)
    axes.set_ylim(0, 1.05 * max(times))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch", fontsize=SMALL, loc="right", labelpad=2)
    return canvas.svg(
        f"seconds-{width:g}", f"Seconds of each epoch: {times[0]:.3g} at first, {times[-1]:.3g} at last"
    )


@styled
def alive(record: Sequence[Row], sizes: Mapping[str, int], width: float) -> str:
    """Share of every group's channels that was not zeroed, after every pruning: a row per group, a column per
    pruning.
    """
    names = list(sizes)
    labelled = len(names) <= MOST_ROWS
    letters = min(max(map(len, names)), 10 if width < NARROW else 24) if labelled else 0
    height = ROW_HEIGHT * len(names) if labelled else max(160.0, 5.0 * len(names))
    canvas = Canvas(width, height + 40)
    left = letters * 7.2 + 12 if labelled else 8
    axes = canvas.axes(left=left, top=4, right=8, bottom=36)
    every = -(-len(record) // (MOST_COLUMNS - 1))
    shown = [*record[:-1:every], record[-1]]
    for row, name in enumerate(names):
        for column, entry in enumerate(shown):
            share = entry["alive"][name] / sizes[name]
            axes.bar(
                column,
                0.86,
                width=0.9,
                bottom=len(names) - row - 0.93,
                color=AFTER,
                alpha=0.06 + 0.94 * share,
            )
    axes.set_ylim(0, len(names))
    axes.set_xlim(-0.5, len(shown) - 0.5)
    step = max(1, len(shown) // 6)
    axes.set_xticks(
        range(0, len(shown), step), [str(shown[i]["epoch"] + 1) for i in range(0, len(shown), step)]
    )
    if labelled:
        axes.set_yticks(
            [len(names) - row - 0.5 for row in range(len(names))], [shorten(name, letters) for name in names]
        )
        axes.tick_params(axis="y", pad=6, labelsize=TEXT)
    quiet(axes, y=labelled)
    axes.set_xlabel("epoch", fontsize=SMALL, loc="right", labelpad=2)
    return canvas.svg(
        f"alive-{width:g}", f"Channels alive in {len(names)} groups after each of {len(record)} prunings"
    )


@styled
def latency(measured: Sequence[Row], width: float) -> str:
    """Median latency [ms] of each runtime before and after, with quartiles; each runtime on its own scale."""
    block, head = 92.0, 4.0
    canvas = Canvas(width, head + block * len(measured))
    for place, row in enumerate(measured):
        axes = canvas.axes(58, head + place * block + 26, 92, (len(measured) - 1 - place) * block + 12)
        axes.set_title(_conditions(row), loc="left", fontsize=TEXT, color=MUTED, pad=6, x=-58 / (width - 150))
        for height, (side, colour) in enumerate((("after", AFTER), ("before", BEFORE))):
            value = row[side]
            axes.barh(height, value["median_ms"], height=0.5, color=colour)
            _whisker(axes, value["q25_ms"], value["q75_ms"], height)
            end = max(value["median_ms"], value["q75_ms"])
            annotate(axes, milliseconds(value["median_ms"]), (end, height), (8, 0), "center", "left")
        axes.set_yticks([0, 1], ["after", "before"])
        axes.set_ylim(-0.5, 1.5)
        axes.set_xlim(0, max(row[side]["q75_ms"] for side in ("before", "after")))
        quiet(axes, x=False, y=True)
    return canvas.svg(f"latency-{width:g}", "Median latency with quartiles, before and after")


def _rows(
    rows: Sequence[Row], before: str, after: str, write: Callable[[float], str], width: float
) -> Canvas:
    """One labelled row per layer: name, bar, numbers."""
    narrow = width < NARROW
    longest = max(len(row["name"]) for row in rows)
    letters = min(longest, 14 if narrow else 28)
    canvas = Canvas(width, ROW_HEIGHT * len(rows) + 8)
    numbers = [_change(row[before], row[after], write) for row in rows]
    axes = canvas.axes(letters * 7.2 + 12, 4, max(len(text) for text in numbers) * 6.6 + 14, 4)
    heights = range(len(rows), 0, -1)
    axes.barh(heights, [row[before] for row in rows], height=0.56, color=BEFORE)
    axes.barh(heights, [row[after] for row in rows], height=0.56, color=AFTER)
    for height, row, text in zip(heights, rows, numbers):
        annotate(axes, text, (max(row[before], row[after]), height), (8, 0), "center", "left")
    axes.set_yticks(heights, [shorten(row["name"], letters) for row in rows])
    axes.tick_params(axis="y", pad=8, labelsize=TEXT)
    axes.set_xlim(0, max((row[before] for row in rows), default=1) or 1)
    axes.set_ylim(0.4, len(rows) + 0.6)
    quiet(axes, x=False, y=True)
    return canvas


def _skyline(
    rows: Sequence[Row], before: str, after: str, write: Callable[[float], str], width: float
) -> Canvas:
    """One thin column per layer, in the order in which they run, with the names of their blocks below."""
    canvas = Canvas(width, 230)
    axes = canvas.axes(left=46, top=12, right=4, bottom=34)
    places = range(len(rows))
    thick = 0.72 if width / len(rows) > 4 else 1.0
    axes.bar(places, [row[before] for row in rows], width=thick, color=BEFORE)
    axes.bar(places, [row[after] for row in rows], width=thick, color=AFTER)
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: write(value))
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xticks([])
    _blocks(axes, [row["name"] for row in rows], width)
    return canvas


def _blocks(axes: Axes, names: Sequence[str], width: float) -> None:
    """Name each run of layers of the same block under its columns, where there is room for the name."""
    starts = [0]
    for place in range(1, len(names)):
        if names[place].split(".")[0] != names[starts[-1]].split(".")[0]:
            starts.append(place)
    column = (width - 50) / len(names)
    for start, end in zip(starts, [*starts[1:], len(names)]):
        text = names[start].split(".")[0]
        if (end - start) * column < 7 * len(text) + 6:
            continue
        axes.plot(
            [start - 0.4, end - 0.6],
            [-0.03, -0.03],
            transform=axes.get_xaxis_transform(),
            color=MUTED,
            linewidth=1,
            clip_on=False,
        )
        axes.text(
            (start + end - 1) / 2,
            -0.07,
            text,
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize=SMALL,
            color=MUTED,
        )


def _recorded(stages: Sequence[Row], key: str) -> tuple[tuple[str, str], ...]:
    """The series of a measure that were recorded: a run without a validation split has only one."""
    pairs = (("training", key), ("validation", f"validation_{key}"))
    return tuple(
        pair
        for pair in pairs
        if any(epoch.get(pair[1]) is not None for stage in stages for epoch in stage["epochs"])
    )


def _tick(value: float) -> str:
    """A number beside an axis."""
    return f"{value:.{3 if abs(value) < 1 else 4}g}".replace("-", MINUS)


def _end(value: float) -> str:
    """The last number of a curve: as many digits as tell it from others."""
    if abs(value) < 0.1:
        return number(value)
    return f"{value:.{1 if abs(value) >= 10 else 2}f}".replace("-", MINUS)


@dataclass(frozen=True)
class _Name:
    """Of a stage, so many pixels from the left of a panel, on a line above it."""

    text: str
    start: float
    level: int


def _stage_names(stages: Sequence[Row], inner: float, right: float) -> list[_Name]:
    """The names of several stages above a panel `inner` pixels wide with `right` free beside it."""
    if len(stages) < 2:
        return []
    low, high = _epochs_shown(sum(len(stage["epochs"]) for stage in stages))
    begun, starts = 0, list[float]()
    for stage in stages:
        place = (begun + 0.5 - low) / (high - low) * inner + 4 if begun else 0.0
        starts.append(max(0.0, min(place, inner + right - width_of(stage["name"]))))
        begun += len(stage["epochs"])
    lines = levels(starts, [width_of(stage["name"]) for stage in stages])
    return [_Name(stage["name"], start, line) for stage, start, line in zip(stages, starts, lines)]


def _epochs_shown(count: int) -> tuple[float, float]:
    """From where to where the axis of so many epochs goes."""
    return (0.5, count + 0.5) if count < 3 else (1.0, 1.02 * count)


def _curves(axes: Axes, stages: Sequence[Row], series: Sequence[tuple[str, str]]) -> None:
    """Lines over all epochs, broken and marked between stages, with their names at the right end."""
    start, ends = 0, {}
    for place, stage in enumerate(stages):
        epochs = stage["epochs"]
        x = range(start + 1, start + len(epochs) + 1)
        for name, key in series:
            y = [epoch.get(key) for epoch in epochs]
            if not y or None in y:
                continue
            colour = AFTER if name == "validation" or len(series) == 1 else BEFORE
            axes.plot(x, y, color=colour, linewidth=2, marker="o" if len(y) <= 5 else "", markersize=5)
            ends[name] = (float(y[-1]), colour)
        if place:
            axes.axvline(start + 0.5, color=RULE, linewidth=1)
        start += len(epochs)
    axes.set_xlim(*_epochs_shown(start))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(lambda value, _: _tick(value))
    axes.margins(y=0.08)
    low, high = axes.get_ylim()
    room = max(0.0, 0.02 * max(abs(low), abs(high)) - (high - low)) / 2  # so few digits tell heights apart
    low, high = low - room, high + room
    axes.set_ylim(low, high)
    places = spread([value for value, _ in ends.values()], 0.09 * (high - low))
    for (name, (value, colour)), height in zip(ends.items(), places):
        text = name if len(ends) > 1 else ""
        axes.annotate(
            f"{_end(value)} {text}".strip(),
            (1, height),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=INK if colour == AFTER else MUTED,
            annotation_clip=False,
        )


def _whisker(axes: Axes, low: float, high: float, height: float) -> None:
    """The range between the quartiles, with a halo so that it reads on the bar and beside it."""
    x, y = [low, low, low, high, high, high], [height + 0.15 * step for step in (-1, 1, 0, 0, 1, -1)]
    for colour, thick in ((PAPER, 4.0), (INK, 1.4)):
        axes.plot(x, y, color=colour, linewidth=thick, solid_capstyle="butt", clip_on=False)


def _pixels(canvas: Canvas, axes: Axes) -> float:
    return float(axes.get_position().width * canvas.width)


def _change(before: float, after: float, write: Callable[[float], str]) -> str:
    return write(before) if before == after else f"{write(before)} → {write(after)}"


def _conditions(row: Row) -> str:
    threads = row.get("threads")
    tail = f", {threads} thread{'s' if threads != 1 else ''}" if threads else ""
    return f"{row['runtime']}, batch {row['batch']}{tail}"
