"""How long work says what it does."""

from __future__ import annotations

from collections.abc import Callable

# Called with (what is being done, steps done, steps in all); 0 in all means that nobody knows.
Watch = Callable[[str, int, int], None]


def unwatched(step: str, done: int, total: int) -> None:
    """Nobody watches."""
