"""Where modules keep sizes: in attributes, and in what containers attributes hold.

A place is named like an attribute: `axes.h` is the entry "h" of the dict `axes`, `axes.0.1` the second item
of the first of a list of pairs, and `pad.planes` the keyword of a `functools.partial`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from torch import nn

_OF_MODULES = frozenset(vars(nn.Module()))
_DEEPEST = 4
_MOST = 1000  # entries of one container; tables of data are no sizes


def sizes_of(module: nn.Module) -> dict[str, Any]:
    """Every whole number from 1 on, and every list of such, by its place."""
    return {
        name: value
        for key, held in vars(module).items()
        if key not in _OF_MODULES
        for name, value in _sizes(key, held, _DEEPEST)
    }


def size_at(module: nn.Module, place: str) -> Any:
    """What is held at a place; None if there is no such place."""
    value: Any = vars(module)
    for key in _keys(module, place):
        value = dict(_entries(value)).get(key)
    return value


def set_size(module: nn.Module, place: str, value: Any) -> None:
    """Put another value at a place that is there; the containers around it are made anew, since others may
    hold them too.
    """
    name, *keys = _keys(module, place)
    if name not in vars(module):  # nn.Module's own setattr looks for parameters and submodules first
        setattr(module, name, value)
    else:
        module.__dict__[name] = _replaced(vars(module)[name], keys, value)


def is_size(value: Any) -> bool:
    """Whether a value is a whole number from 1 on, or a list or tuple of such."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(v, int) and is_size(v) for v in value)
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _keys(module: nn.Module, place: str) -> list[str]:
    return [place] if place in vars(module) else place.split(".")


def _sizes(place: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if is_size(value):
        yield place, value
    elif depth:
        for key, held in _entries(value):
            yield from _sizes(f"{place}.{key}", held, depth - 1)


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """What a container holds, by key; keys that are no plain text are left out."""
    if isinstance(value, functools.partial):
        value = value.keywords
    if isinstance(value, dict) and len(value) <= _MOST:
        yield from ((key, held) for key, held in value.items() if isinstance(key, str) and "." not in key)
    elif isinstance(value, (list, tuple)) and len(value) <= _MOST:
        yield from ((str(index), held) for index, held in enumerate(value))


def _replaced(value: Any, keys: list[str], new: Any) -> Any:
    """A copy of a container with another value at a place in it."""
    if not keys:
        return new
    if isinstance(value, functools.partial):
        return functools.partial(value.func, *value.args, **_replaced(value.keywords, keys, new))
    if isinstance(value, dict):
        result = type(value)(value)
        result[keys[0]] = _replaced(value[keys[0]], keys[1:], new)
        return result
    items = [
        _replaced(held, keys[1:], new) if str(index) == keys[0] else held for index, held in enumerate(value)
    ]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
