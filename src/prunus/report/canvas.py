"""Figures as inline SVG that takes its colours, fonts and width from the page around it."""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that occur nowhere else: each is replaced by a CSS variable, so that the page's light and dark
# scheme decide.
INK = "#0a0b01"
MUTED = "#0a0b02"
RULE = "#0a0b03"
BEFORE = "#0a0b04"
AFTER = "#0a0b05"
PAPER = "#0a0b06"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    BEFORE: "--before",
    AFTER: "--after",
    PAPER: "--paper",
}

P = ParamSpec("P")
TEXT = 12.0  # pixels at the width for which the figure is drawn
SMALL = 11.0
NARROW = 480.0  # below it a figure is for a phone
ROW_HEIGHT = 26.0
MARGIN = 38.0  # left of a panel of a grid, for its numbers: five characters

_STYLE: Any = {  # a dictionary; newer type stubs want every key to be one of their literals
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's font
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.hashsalt": "prunus",  # the same data give the same file
    "font.size": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": RULE,
    "axes.linewidth": 1.0,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
}


def styled(draw: Callable[P, str]) -> Callable[P, str]:
    """Draw with our settings and leave everybody else's as they are: matplotlib reads them when a thing is
    made.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


class Canvas:
    """A figure measured in pixels: 72 of matplotlib's dots to its inch make a point a pixel."""

    def __init__(self, width: float, height: float) -> None:
        self.width = width
        self.height = height
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)

    def axes(self, left: float, top: float, right: float, bottom: float) -> Axes:
        """Axes that leave so many pixels free on each side of the figure."""
        box = (
            left / self.width,
            bottom / self.height,
            (self.width - left - right) / self.width,
            (self.height - top - bottom) / self.height,
        )
        return self.figure.add_axes(box)

    def svg(self, name: str, label: str) -> str:
        """The figure as one `<svg>` element; `name` keeps its ids apart from those of other figures on the
        page.
        """
        buffer = io.StringIO()
        with warnings.catch_warnings():
            # the page draws texts in fonts of its own, which may have letters that matplotlib's lack
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            self.figure.savefig(buffer, format="svg", transparent=True)
        return _inline(buffer.getvalue(), name, label, self.width, self.height)


def grid(width: float, count: int, *, panel: float, head: float, foot: float) -> tuple[Canvas, list[Axes]]:
    """A canvas with so many panels, two beside each other where there is room; for a title above each, and
    numbers at its left.
    """
    columns, gap = (2 if width > 480 else 1), 28.0
    lines, row = -(-count // columns), panel + head + foot
    canvas, each = Canvas(width, lines * row), (width - gap * (columns - 1)) / columns
    found = []
    for place in range(count):
        line, column = divmod(place, columns)
        left = column * (each + gap)
        found.append(
            canvas.axes(
                left + MARGIN, line * row + head, width - left - each + 4, (lines - 1 - line) * row + foot
            )
        )
    return canvas, found


def entitled(canvas: Canvas, axes: Axes, title: str) -> None:
    """A title above a panel of a grid, from the panel's left edge on, numbers included."""
    axes.set_title(
        title,
        loc="left",
        fontsize=TEXT,
        color=MUTED,
        pad=6,
        x=-MARGIN / (axes.get_position().width * canvas.width),
    )


def quiet(axes: Axes, *, x: bool = True, y: bool = False) -> None:
    """Drop the ticks and lines of an axis whose values are written at the data."""
    if not y:
        axes.set_yticks([])
    if not x:
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)


def annotate(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    offset: tuple[float, float],
    vertical: str,
    horizontal: str = "center",
    coordinates: str | tuple[str, str] = "data",
    colour: str = INK,
) -> None:
    """A label at so many pixels from a place, whose coordinates may be those of the data, the axes or the
    figure.
    """
    axes.annotate(
        text,
        place,
        offset,
        xycoords=coordinates,
        textcoords="offset points",
        va=vertical,
        ha=horizontal,
        fontsize=TEXT,
        color=colour,
        annotation_clip=False,
    )


def width_of(text: str, size: float = TEXT) -> float:
    """Pixels that a text takes at most in the fonts of the page, on average over its letters."""
    return 0.6 * size * len(text)


def shorten(name: str, longest: int) -> str:
    """A layer name that fits: the middle goes, because both its ends tell where it is."""
    if len(name) <= longest:
        return name
    tail = (longest - 1) * 2 // 3
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"


def spread(heights: Iterable[float], gap: float) -> list[float]:
    """Move labels apart so that neighbours are at least `gap` from each other, each as near to its place as
    may be.
    """
    places = list(heights)
    order = sorted(range(len(places)), key=lambda index: places[index])
    for _ in range(50):
        for low, high in itertools.pairwise(order):
            overlap = gap - (places[high] - places[low])
            if overlap > 1e-9:
                places[low] -= overlap / 2
                places[high] += overlap / 2
    return places


def _inline(text: str, name: str, label: str, width: float, height: float) -> str:
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<svg[^>]*>", lambda _: _opening(name, label, width, height), body, count=1)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]*;? ?|font: (?:(\d+) )?([\d.]+)px [^;\"]*", _font, body)
    body = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", _own_ids(body, name)).strip()


def _opening(name: str, label: str, width: float, height: float) -> str:
    escaped = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width: {width:g}px" role="img"'
        f' aria-label="{escaped}">'
    )


def _font(match: re.Match[str]) -> str:
    """Keep the size and drop the family, in both spellings that matplotlib has for them."""
    if match[2] is None:
        return ""
    weight = f"font-weight: {match[1]}; " if match[1] else ""
    return f"{weight}font-size: {match[2]}px"


def _own_ids(body: str, name: str) -> str:
    """Drop the ids that nothing refers to, and give the others the figure's name: a page may hold many
    figures.
    """
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))

    def keep(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    body = re.sub(r' id="([^"]*)"', keep, body)
    return re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", body)
