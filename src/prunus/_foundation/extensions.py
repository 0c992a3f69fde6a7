"""What other packages add to prunus: entry points of the groups below, imported when they are named.

Nothing of another package is imported by looking which names there are. A package that is broken, or that
takes a name which is there already, is told in one warning and otherwise left out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Literal

from prunus._foundation.warned import warn
from prunus.errors import ConfigError

Group = Literal["prunus.scores", "prunus.tasks", "prunus.rules"]
GROUPS: tuple[Group, ...] = ("prunus.scores", "prunus.tasks", "prunus.rules")
_WORDS = {"prunus.scores": "score", "prunus.tasks": "task", "prunus.rules": "set of rules"}


@dataclass(frozen=True)
class Extension:
    """What a package offers.

    Attributes:
        group: of which kind it is.
        name: by which users know it.
        package: which offers it.
        place: module:attribute.
        entry: which loads it.
    """

    group: Group
    name: str
    package: str
    place: str
    entry: metadata.EntryPoint

    def load(self) -> Any:
        """What it is, imported; raises ConfigError, which names the package."""
        try:
            found = self.entry.load()
        except (Exception, SystemExit) as error:  # whatever somebody's module raises while it is imported
            raise ConfigError(f"{self} cannot be imported ({told(error)}).") from error
        if not callable(found):
            raise ConfigError(f"{self} is a {type(found).__name__}, at {self.place}: it must be a function.")
        return found

    def __str__(self) -> str:
        return f"The {_WORDS[self.group]} {self.name!r} of the package {self.package}"


def told(error: BaseException) -> str:
    """Kind and first line of an error of somebody else's, without its full stop."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".rstrip(". :")


@cache
def _scanned() -> tuple[metadata.EntryPoint, ...]:
    """All entry points of our groups of everything that is installed; read once."""
    found: Any = metadata.entry_points()  # whose type depends on the version of Python
    return tuple(one for group in GROUPS for one in found.select(group=group))


@cache
def offered(group: Group) -> dict[str, Extension]:
    """What packages offer, by name; of two of one name the first, and a warning."""
    found: dict[str, Extension] = {}
    for entry in sorted((one for one in _scanned() if one.group == group), key=_order):
        package = entry.dist.name if entry.dist is not None else entry.value.partition(".")[0]
        one = Extension(group, entry.name, package, entry.value, entry)
        if entry.name in found:
            other = found[entry.name].package
            if other != package:
                warn(f"{one} is left out: the package {other} has one of that name.")
            continue
        found[entry.name] = one
    return found


def _order(entry: metadata.EntryPoint) -> tuple[str, str]:
    return (entry.dist.name if entry.dist is not None else "", entry.name)


def added(group: Group, taken: Collection[str]) -> dict[str, Extension]:
    """What is offered under names that prunus does not have itself; of the others one is warned."""
    for name in offered(group):
        if name in taken:
            _refuse(group, name)
    return {name: one for name, one in offered(group).items() if name not in taken}


@cache
def _refuse(group: Group, name: str) -> None:
    """Once for each name."""
    warn(f"{offered(group)[name]} is left out: prunus has one of that name.")


def forget() -> None:
    """Look again at what is installed."""
    for one in (_scanned, offered, _refuse):
        one.cache_clear()
