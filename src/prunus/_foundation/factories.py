"""What a user names as `package.module:function`: imported and called because they typed it, never because a
file says so.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from prunus.errors import ArgumentError, PrunusError


def called(name: str, options: Mapping[str, Any], makes: str, kind: type[PrunusError]) -> Any:
    """What a function of the user's returns; it is found on the Python path or in the current directory.

    Args:
        name: package.module:function.
        options: what it is called with, by name.
        makes: what it is there for, as in "builds the model".
        kind: of the errors.

    Raises `kind` where the module cannot be imported, has no such function, or the function fails.
    """
    with _current_directory_importable():
        return call(name, _found(name, makes, kind), options, kind)


def call(name: str, factory: Callable[..., Any], options: Mapping[str, Any], kind: type[PrunusError]) -> Any:
    """Call a function; whatever it raises, the user reads which one and why."""
    try:
        return factory(**options)
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{key}={short(value)}" for key, value in options.items())
        raise kind(f"Building {name}({given}) failed: {reason(error)}.") from error


def taken(name: str, words: Collection[str], makes: str, kind: type[PrunusError]) -> set[str]:
    """Which of some words a function of the user's has as parameters; errors are those of `called`."""
    with _current_directory_importable():
        try:
            return set(words) & set(inspect.signature(_found(name, makes, kind)).parameters)
        except (TypeError, ValueError):  # built into Python, without a signature
            return set()


def _found(name: str, makes: str, kind: type[PrunusError]) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # whatever the user's module raises while it is imported
        raise kind(
            f"Cannot import {module_name!r} of {name!r}: {reason(error)}.{_as_module(module_name)}"
        ) from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        public = [one for one in dir(found) if not one.startswith("_")]
        raise kind(
            f"{module_name!r} has no attribute {attribute!r}.{nearest(attribute, public)} Name what {makes}."
        ) from error
    if not callable(found) or isinstance(found, nn.Module):
        raise kind(f"{name!r} is a {type(found).__name__}: expected a function or class that {makes}.")
    factory: Callable[..., Any] = found
    return factory


def _as_module(name: str) -> str:
    """How a file is named, where the user gave its path."""
    path = Path(name)
    if path.suffix != ".py" and len(path.parts) < 2:
        return ""
    return (
        " A module is named as Python imports it, with dots and without .py, seen from here:"
        f" {'.'.join(path.with_suffix('').parts)}:…"
    )


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at names that are nearly the same, or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {', '.join(matches)}?" if matches else ""


def short(value: object) -> str:
    """A value in a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def reason(error: BaseException) -> str:
    """Kind and first line of an error, without its full stop."""
    first = next(iter(str(error).splitlines()), "")
    # whichever door the argument came to
    kind = "TypeError" if isinstance(error, ArgumentError) else type(error).__name__
    return f"{kind}: {first}".rstrip(". :")
