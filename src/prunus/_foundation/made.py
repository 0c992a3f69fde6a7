"""What a part of a training was made with, as plain numbers and texts: a training that is resumed can so tell
whether its parts are those that it was begun with.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import numpy as np

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])
_begun: ContextVar[dict[str, Any] | None] = ContextVar("begun", default=None)
_MADE = "_made_with"
_LONG = 64  # items of a list that are told one by one


def remembers(*apart: str) -> Callable[[type[_T]], type[_T]]:
    """A class whose objects remember what they were made with, but for some arguments that change nothing."""

    def decorate(kind: type[_T]) -> type[_T]:
        make: Any = kind.__init__
        signature = inspect.signature(make)

        @functools.wraps(make)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            make(self, *args, **kwargs)  # first: it says which arguments do not fit
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            given = {name: plain(value) for name, value in list(bound.arguments.items())[1:]}
            setattr(self, _MADE, {name: value for name, value in given.items() if name not in apart})

        kind.__init__ = init  # type: ignore[method-assign]
        return kind

    return decorate


def described(part: Any) -> Any:
    """What a part is, and what it was made with, where it remembers that; None where there is none."""
    if part is None:
        return None
    part = inspect.unwrap(part)
    return {"kind": type(part).__name__, **getattr(part, _MADE, {})}


def plain(value: Any) -> Any:
    """A value as numbers, texts, lists and mappings; of anything else what it is called, or of what class it
    is: a tensor among them is an example.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        return f"array {value.shape} {_checksum(value.tobytes())}"
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return items if len(items) <= _LONG else f"{len(items)} values {_checksum(repr(items).encode())}"
    if hasattr(value, _MADE):
        return described(value)
    if isinstance(value, functools.partial):
        return {"kind": name_of(value.func), **plain(value.keywords)}
    return name_of(value)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def name_of(value: Any) -> str:
    """What a function or a class is called; of another object, its class."""
    return str(getattr(value, "__name__", type(value).__name__))


def begins(function: _F) -> _F:
    """A method that begins trainings: what it is called with, as far as that is numbers and texts, belongs to
    them (`begun_by`). Where a method calls another, the first one counts.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        own = {name: plain(value) for name, value in bound.arguments.items() if _is_plain(value)}
        token = _begun.set(_begun.get() or {"kind": function.__name__, **own})
        try:
            return function(*args, **kwargs)
        finally:
            _begun.reset(token)

    return cast(_F, call)


def begun_by() -> dict[str, Any] | None:
    """The method that is running, with its settings; None outside of all."""
    return _begun.get()


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str, np.generic))


def first_difference(before: Any, now: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Where two plain values differ first: the name of the place, and both values there."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        if before.get("kind") != now.get("kind"):
            return name, before.get("kind"), now.get("kind")
        for key in (one for one in before if one in now):  # versions may know more settings, or fewer
            found = first_difference(before[key], now[key], f"{name}.{key}".lstrip("."))
            if found is not None:
                return found
        return None
    return None if before == now else (name, _kind(before), _kind(now))


def _kind(value: Any) -> Any:
    """Of a whole part its kind is enough to say."""
    return value["kind"] if isinstance(value, Mapping) and "kind" in value else value
