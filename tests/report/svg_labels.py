"""Boxes of the labels in a figure, as wide as they are in matplotlib's own font, which is wider than those of
the page.
"""

from __future__ import annotations

import html
import itertools
import re
from dataclasses import dataclass
from functools import cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

FONT = FontProperties(family="DejaVu Sans")
NUMBER = r"(-?[\d.]+(?:e-?\d+)?)"


@dataclass(frozen=True)
class Label:
    """A text and where it stands, in pixels from the top left."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    def hides(self, other: Label, slack: float = 1.0) -> bool:
        """Whether two labels share more than a seam."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide > slack and high > slack


def labels(figure: str) -> list[Label]:
    """The labels of an `<svg>`."""
    found = []
    for attributes, content in re.findall(r"<text([^>]*)>(.*?)</text>", figure, flags=re.DOTALL):
        text = html.unescape(re.sub(r"<[^>]*>", "", content)).strip()
        if text:
            found.append(_label(attributes, text))
    return found


def overlaps(figure: str) -> list[tuple[str, str]]:
    """Pairs of labels that lie over each other."""
    return [(a.text, b.text) for a, b in itertools.combinations(labels(figure), 2) if a.hides(b)]


def outside(figure: str, slack: float = 2.0) -> list[str]:
    """Labels that reach beyond the figure."""
    box = re.search(rf'viewBox="0 0 {NUMBER} {NUMBER}"', figure)
    assert box is not None
    width, height = float(box[1]), float(box[2])
    return [
        one.text
        for one in labels(figure)
        if one.left < -slack or one.right > width + slack or one.top < -slack or one.bottom > height + slack
    ]


def _label(attributes: str, text: str) -> Label:
    size = float(_found(r"font-size: ([\d.]+)px", attributes))
    x, y, angle = _place(attributes)
    wide = size * sum(map(_letter, text))
    anchor = re.search(r"text-anchor: (\w+)", attributes)
    start = {"middle": -wide / 2, "end": -wide}.get(anchor[1] if anchor else "start", 0.0)
    if abs(angle) > 45:  # it reads upwards
        return Label(text, x - 0.72 * size, y - start - wide, x + 0.2 * size, y - start)
    return Label(text, x + start, y - 0.72 * size, x + start + wide, y + 0.2 * size)


@cache
def _letter(letter: str) -> float:
    """How wide a letter is, of a font of one pixel."""
    pair = (TextPath((0, 0), text, size=100, prop=FONT).get_extents().width for text in (f"|{letter}|", "||"))
    return float(next(pair) - next(pair)) / 100


def _place(attributes: str) -> tuple[float, float, float]:
    """Where a text begins, and how far it is turned."""
    moved = re.search(rf"translate\({NUMBER}[ ,]+{NUMBER}\)", attributes)
    turned = re.search(rf"rotate\({NUMBER}", attributes)
    angle = float(turned[1]) if turned else 0.0
    if moved:
        return float(moved[1]), float(moved[2]), angle
    x, y = (float(_found(rf'\b{axis}="{NUMBER}"', attributes)) for axis in "xy")
    return x, y, angle


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]
