"""Where the labels of a plot may stand, so that they hide neither each other nor what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""Left, bottom, right, top in pixels."""

LETTER = 7.0  # pixels, of the text size on average
HIGH = 14.0  # pixels, of a line of it
AWAY = 9.0  # pixels between a point and its name
BEYOND = 10  # how much worse it is to leave the room than to hide something
NEAR = 8  # so many of the places around a point are beside it; to those after them a line leads


def around(x: float, y: float, wide: float) -> list[Box]:
    """Where the name of a point may stand, the best place first: above and left of a front there is room,
    because nothing is better.
    """
    near = AWAY * 0.7
    corners = [
        (x - near - wide, y + 2),
        (x - AWAY - wide, y - HIGH / 2),
        (x - wide / 2, y + AWAY),
        (x + near, y - HIGH - 2),
        (x - wide / 2, y - AWAY - HIGH),
        (x + near, y + 2),
        (x + AWAY, y - HIGH / 2),
        (x - near - wide, y - HIGH - 2),
    ]
    corners += [
        (x + side * 1.1 * wide / 2 - wide / 2, y + step)
        for step in (28, -42, 46, -60, 64, -78)
        for side in (0, -1, 1)
    ]
    return [(left, bottom, left + wide, bottom + HIGH) for left, bottom in corners]


def least_hidden(places: Sequence[Box], taken: Sequence[Box], room: Box) -> int:
    """Which of some places hides and loses least; of equal ones the first."""
    return min(range(len(places)), key=lambda index: (hidden(places[index], taken, room), index))


def levels(starts: Sequence[float], widths: Sequence[float], gap: float = 8.0) -> list[int]:
    """On which line each of some names stands, 0 the lowest, when it begins at its own place and none may run
    into another.
    """
    ends: list[float] = []
    found = []
    for start, wide in zip(starts, widths):
        level = next((line for line, end in enumerate(ends) if end + gap <= start), len(ends))
        ends[level : level + 1] = [start + wide]
        found.append(level)
    return found


def hidden(box: Box, taken: Sequence[Box], room: Box) -> int:
    """Square pixels that a name would hide, or that would be beyond the room, which is worse."""
    lost = (box[2] - box[0]) * (box[3] - box[1]) - shared(box, room)
    return round(BEYOND * lost + sum(shared(box, other) for other in taken))


def shared(box: Box, other: Box) -> float:
    """Square pixels that are in both."""
    wide = min(box[2], other[2]) - max(box[0], other[0])
    high = min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, wide) * max(0.0, high)
