"""Classes of packages that may not be there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from prunus.errors import MissingExtraError


def base(packages: Sequence[str], name: str, extra: str) -> Any:
    """The class `name` of the first of these packages that is in use already, else of the first that is
    installed; where none is, a class of which nothing can be made: its constructor raises MissingExtraError.
    """
    used = [package for package in packages if package.partition(".")[0] in sys.modules]
    for package in dict.fromkeys((*used, *packages)):
        try:
            return getattr(import_module(package), name)
        except ImportError:
            continue
    return _absent(name, extra)


def _absent(name: str, extra: str) -> type:
    """Stands for a class of a package that is not installed."""

    def refuse(cls: type, *args: Any, **kwargs: Any) -> Any:
        raise MissingExtraError(f"{cls.__module__}.{cls.__name__} needs the extra prunus[{extra}].")

    return type(name, (), {"__new__": refuse})
