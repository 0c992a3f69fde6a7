"""Functions that remember their results: while a twin runs they compute anew, and remember nothing of it.

What such a function made once for real is no constant of the forward that is traced, and the meta tensors of
a trace have no place among what it hands to the user's own model afterwards.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

Remembering: Any = functools._lru_cache_wrapper


@contextmanager
def forgotten(modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """The remembering functions of the classes of these modules, and of the files around them, without
    memory.
    """
    found = [place for home in _homes(set(map(type, modules.values()))) for place in _places(home)]
    for home, name, _, plain in found:
        setattr(home, name, plain)
    try:
        yield
    finally:
        for home, name, value, _ in found:
            setattr(home, name, value)


def _homes(kinds: set[Any]) -> list[Any]:
    """The user's classes, the files in which they stand, and those whose functions these files import."""
    classes = {base for kind in kinds for base in kind.__mro__ if not _is_libraries(base.__module__)}
    files = {base.__module__ for base in classes}
    held = [value for name in files if name in sys.modules for value in vars(sys.modules[name]).values()]
    files |= {value.__module__ or "" for value in held if isinstance(value, types.FunctionType)}
    files |= {value.__name__ for value in held if isinstance(value, types.ModuleType)}
    return [
        *classes,
        *(sys.modules[name] for name in files if name in sys.modules and not _is_libraries(name)),
    ]


def _places(home: Any) -> Iterator[tuple[Any, str, Any, Any]]:
    """Where a remembering function stands in a class or a file, that itself, and the function inside it."""
    for name, value in list(vars(home).items()):
        inner: Any = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if isinstance(inner, Remembering):
            yield home, name, value, inner.__wrapped__ if inner is value else type(value)(inner.__wrapped__)
        elif isinstance(inner, types.FunctionType):  # a decorator may have put the memory inside
            for cell in inner.__closure__ or ():
                held: Any = _held(cell)
                if isinstance(held, Remembering):
                    yield cell, "cell_contents", held, held.__wrapped__


def _held(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


@functools.cache
def _is_libraries(file: str) -> bool:
    return file.partition(".")[0] in _LIBRARIES


_LIBRARIES = sys.stdlib_module_names | {"torch", "numpy", "prunus"}
