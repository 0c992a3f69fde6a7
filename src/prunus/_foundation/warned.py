"""Warnings that point at the line of whoever called the library, however deep inside it they are given."""

from __future__ import annotations

import inspect
import warnings

# decorators and imports stand between a caller and the library, too
_BETWEEN = frozenset({"prunus", "torch", "contextlib", "functools", "importlib"})


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn of something.

    Args:
        text: one sentence or more.
        category: what kind of warning it is.
    """
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
