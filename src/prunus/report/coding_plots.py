"""Where the bytes of a coded file are, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prunus.report import words
from prunus.report.canvas import (
    AFTER,
    BEFORE,
    INK,
    MUTED,
    NARROW,
    SMALL,
    TEXT,
    Canvas,
    quiet,
    shorten,
    styled,
    width_of,
)

Row = Mapping[str, Any]
MOST = 24  # tensors that have a bar of their own
ROW, HEAD, FOOT = 25.0, 8.0, 12.0  # pixels of a bar, above all and below


@styled
def stages(sizes: Mapping[str, int], width: float) -> str:
    """Bytes after each stage: one bar each, the last one in the colour of results."""
    labels = [(words.size(size), "") for size in sizes.values()]
    return _bars(
        f"stages-{width:g}", "Bytes after each stage", list(sizes), list(sizes.values()), labels, width
    )


@styled
def layers(rows: Sequence[Row], width: float) -> str:
    """Bytes of the largest tensors, and the bits of each of their weights."""
    shown = [row for row in rows if row["bytes"]][:MOST]
    labels = [(words.size(row["bytes"]), f"{row['bits']:.1f} bits") for row in shown]
    names = [str(row["name"]) for row in shown]
    return _bars(
        f"layers-{width:g}",
        f"Bytes of the {len(shown)} largest tensors",
        names,
        [row["bytes"] for row in shown],
        labels,
        width,
        all_alike=True,
    )


def _bars(
    name: str,
    label: str,
    names: Sequence[str],
    sizes: Sequence[int],
    labels: Sequence[tuple[str, str]],
    width: float,
    all_alike: bool = False,
) -> str:
    longest = 18 if width < NARROW else 40
    names = [shorten(text, longest) for text in names]
    left = max(map(width_of, names), default=0.0) + 12
    right = max((width_of(f"{first}  {second}".rstrip()) for first, second in labels), default=0.0) + 14
    canvas = Canvas(width, HEAD + FOOT + ROW * len(names))
    axes = canvas.axes(left=left, top=HEAD, right=right, bottom=FOOT)
    quiet(axes)
    largest = max(sizes, default=1) or 1
    for place, (text, size, (first, second)) in enumerate(zip(names, sizes, labels)):
        last = all_alike or place == len(names) - 1
        axes.barh(place, size, height=0.56, color=AFTER if last else BEFORE)
        axes.annotate(
            text, (0, place), (-8, 0), textcoords="offset points", ha="right", va="center", fontsize=TEXT,
            color=INK, annotation_clip=False,
        )  # fmt: skip
        axes.annotate(
            first, (size, place), (6, 0), textcoords="offset points", ha="left", va="center",
            fontsize=TEXT, color=INK, annotation_clip=False,
        )  # fmt: skip
        if second:
            axes.annotate(
                second, (size, place), (6 + width_of(first) + 6, 0), textcoords="offset points", ha="left",
                va="center", fontsize=SMALL, color=MUTED, annotation_clip=False,
            )  # fmt: skip
    axes.set_xlim(0, largest)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    return canvas.svg(name, label)


__all__ = ["layers", "stages"]
