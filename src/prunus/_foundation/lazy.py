"""Rooms whose files are imported when they are first named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any


def files_of(package: str, names: Sequence[str]) -> Callable[[str], ModuleType]:
    """A package's `__getattr__`, which imports these of its files when they are asked for."""

    def lookup(name: str) -> ModuleType:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(f"{package}.{name}")

    return lookup


def names_of(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`, which looks its names up in its files (`homes`: name -> file) when they are
    asked for.
    """

    def lookup(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return lookup
