"""Trainings that are broken off after a number of steps, as a kill would do it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count


class StopError(Exception):
    """Stands for a kill."""


def stopping(after: int) -> Callable[[int, int], None]:
    """What a training is given as `on_step`: the call of this number, from 0, ends it; -1 never does."""
    steps = count()

    def on_step(done: int, total: int) -> None:
        if next(steps) == after:
            raise StopError

    return on_step
