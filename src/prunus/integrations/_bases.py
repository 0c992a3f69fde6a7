"""Classes of packages that may not be there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from prunus.errors import MissingExtraError, clause


def base(packages: Sequence[str], name: str, extra: str) -> Any:
    """The class `name` of the first of these packages that is in use already, else of the first that can be
    imported; where none can, a class of which nothing can be made: its constructor raises MissingExtraError.
    """
    used = [package for package in packages if package.partition(".")[0] in sys.modules]
    why = ""
    for package in dict.fromkeys((*used, *packages)):
        try:
            return getattr(import_module(package), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != package.partition(".")[0]:
                why = why or _failure(package, error)
        except Exception as error:  # a package imports others, which may fail in any way
            why = why or _failure(package, error)
    return _absent(name, f" needs the extra prunus[{extra}]{why}.")


def _failure(package: str, error: Exception) -> str:
    """Why a package that is there does not serve."""
    return f": {package} cannot be imported ({type(error).__name__}: {clause(error)})"


def _absent(name: str, text: str) -> type:
    """Stands for a class that cannot be had; `text` follows the name of what was to be made of it."""

    def refuse(cls: type, *args: Any, **kwargs: Any) -> Any:
        raise MissingExtraError(f"{cls.__module__}.{cls.__name__}{text}")

    return type(name, (), {"__new__": refuse})
