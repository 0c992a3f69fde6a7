"""How long work says what it does, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

# Called with (what is being done, steps done, steps in all); 0 in all means that nobody knows.
Watch = Callable[[str, int, int], None]


def unwatched(step: str, done: int, total: int) -> None:
    """Nobody watches."""


class Clock:
    """Tells the watcher what is going on, and keeps the seconds that each step took."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.seconds: dict[str, float] = {}

    def time(self, step: str, work: Callable[[], T]) -> T:
        """Time a step and hand on what it returns."""
        with self.steps(step):
            return work()

    @contextmanager
    def steps(self, step: str) -> Iterator[Callable[[int, int], None]]:
        """Time a step that counts its own steps."""
        started = time.perf_counter()
        self.watch(step, 0, 0)
        yield lambda done, total: self.watch(step, done, total)
        self.watch(step, 1, 1)
        self.seconds[step] = time.perf_counter() - started
