"""Scores of other packages: the entry points of the group `prunus.scores`, functions of a traced graph."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor

from prunus._foundation.extensions import Extension, added
from prunus._foundation.warned import warn
from prunus.errors import ConfigError, clause
from prunus.paint.graph import ChannelGraph


def extended_scores(taken: Collection[str]) -> dict[str, Extension]:
    """What other packages offer, by name, but for names that are taken."""
    return added("prunus.scores", taken)


def extended_score(name: str, taken: Collection[str]) -> Callable[[ChannelGraph], Tensor] | None:
    """A score of another package; None where none has this name. Raises ConfigError, which names the package,
    where it is broken.
    """
    one = extended_scores(taken).get(name)
    found: Callable[[ChannelGraph], Tensor] | None = None if one is None else one.load()
    return found


def attribute(room: str, taken: Collection[str]) -> Callable[[str], Any]:
    """A room's `__getattr__`, which finds scores of other packages; a dash in a name is an underscore."""

    def lookup(name: str) -> Any:
        offered = {} if name.startswith("_") else extended_scores(taken)
        one = offered.get(name) or offered.get(name.replace("_", "-"))
        if one is None:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        try:
            return one.load()
        except ConfigError as error:
            warn(str(error))
            raise AttributeError(f"module {room!r} has no attribute {name!r}: {clause(error)}") from error

    return lookup
