"""What `torchrun` says, by environment variables, of the processes that it starts together. Clusters set some
of them for programs that never asked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from prunus.errors import ConfigError

NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")  # to find the other processes


@dataclass(frozen=True)
class Launch:
    """This process among `count`, and on its machine, counted from 0."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether it speaks for all."""
        return self.rank == 0


def launch() -> Launch:
    """What the environment says; one process where it does not say how many there are, whatever else is set.

    Raises ConfigError for what is no whole number, or no place among so many.
    """
    count = _number("WORLD_SIZE", 1)
    if count < 2:
        return Launch()
    rank, local = _number("RANK", 0), _number("LOCAL_RANK", 0)
    if rank >= count:
        raise ConfigError(f"RANK is {rank}, and WORLD_SIZE {count}: ranks are counted from 0. {_ADVICE}")
    return Launch(rank, count, local)


def check_meeting() -> None:
    """Raises ConfigError where there are others, and the environment does not say where to meet them."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if launch().count > 1 and missing:
        raise ConfigError(
            f"WORLD_SIZE speaks of {launch().count} processes, and {' and '.join(missing)}"
            f" {'is' if len(missing) == 1 else 'are'} not set. {_ADVICE}"
        )
    if launch().count > 1:
        _number("MASTER_PORT", 0)


_ADVICE = "Start the processes with torchrun, or unset WORLD_SIZE to work in one."


def _number(name: str, usual: int) -> int:
    text = os.environ.get(name) or str(usual)
    if not (text.isascii() and text.strip().isdigit() and len(text) < 10):
        raise ConfigError(f"The environment variable {name} is {text[:20]!r}, and no whole number. {_ADVICE}")
    return int(text)
