"""Whether a value is what an annotation says, and the plain number or tensor that it stands for."""

from __future__ import annotations

import inspect
import os
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from prunus._foundation.wording import is_torch

_MOST_LOOKED_AT = 1000  # items of a list or dict


ODD = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError, AssertionError)
"""What Python, NumPy and torch raise of values that are not what they should be, as files from elsewhere hold
them.
"""


class MisfitError(Exception):
    """A value is not what an annotation says."""


def fit(hint: Any, value: Any) -> Any:
    """The value, or what it stands for as a plain number or tensor; raises MisfitError."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, (TypeVar, str)) or hint is Any:
        return value
    if _is_array_like(hint):
        return _fit_array_like(value)
    if origin in (Union, types.UnionType):
        return _fit_one_of(inner, value)
    if origin is Literal:
        if not any(type(word) is type(value) and word == value for word in inner):
            raise MisfitError
        return value
    kind = origin or hint
    known = _FITS.get(kind)
    if known is not None:
        return known(value, inner)
    if inspect.isclass(kind):
        return _fit_protocol(kind, value) if getattr(kind, "_is_protocol", False) else _fit_class(kind, value)
    return value


def _fit_protocol(kind: type, value: Any) -> Any:
    """Whoever has its methods and attributes will do."""
    bases = [base for base in kind.__mro__ if getattr(base, "_is_protocol", False)]
    names = {name for base in bases for name in (*vars(base), *vars(base).get("__annotations__", {}))}
    own = {name for name in names if not name.startswith("_") or name == "__call__"}
    if inspect.isclass(value) or not all(hasattr(value, name) for name in own):
        raise MisfitError
    return value


def _fit_one_of(hints: Sequence[Any], value: Any) -> Any:
    """Lists and arrays are taken for tensors where nothing but a tensor may stand; a text that may be a path
    is not empty, which would be the current folder.
    """
    if isinstance(value, str) and not value and any(_is_path(hint) for hint in hints):
        raise MisfitError
    several = len([hint for hint in hints if hint not in (None, type(None))]) > 1
    kind: Any = type(value)
    for hint in sorted(hints, key=lambda hint: (typing.get_origin(hint) or hint) != kind):
        if several and getattr(hint, "__name__", "") == "Tensor" and not isinstance(value, hint):
            continue
        try:
            return fit(hint, value)
        except MisfitError:
            continue
    raise MisfitError


def _fit_class(kind: type, value: Any) -> Any:
    if kind.__name__ == "Tensor" and kind.__module__ == "torch":
        return _fit_tensor(kind, value)
    if not isinstance(value, kind):
        raise MisfitError
    return value


def _fit_tensor(kind: type, value: Any) -> Any:
    """Arrays and lists of numbers are tensors."""
    torch: Any = sys.modules["torch"]
    if isinstance(value, kind):
        return value
    if not isinstance(value, (list, tuple)) and type(value).__name__ != "ndarray":
        raise MisfitError
    try:
        return torch.as_tensor(value)
    except Exception:  # text, modules, lists of unequal length: anything may be in it
        raise MisfitError from None


def _scalar(value: Any) -> Any:
    """A number of NumPy or torch as Python's own, another value as it is."""
    if hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        try:
            return value.item()
        except Exception:  # on a device without values
            raise MisfitError from None
    return value


def _fit_float(value: Any, _: Any) -> Any:
    plain = _scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise MisfitError
    return plain


def _fit_int(value: Any, _: Any) -> Any:
    plain = _scalar(value)
    if isinstance(plain, bool) or not isinstance(plain, int):
        raise MisfitError
    return plain


def _fit_bool(value: Any, _: Any) -> Any:
    plain = _scalar(value)
    if not isinstance(plain, bool):
        raise MisfitError
    return plain


def _fit_exactly(kind: type) -> Callable[[Any, Any], Any]:
    def exact(value: Any, _: Any) -> Any:
        if not isinstance(value, kind):
            raise MisfitError
        return value

    return exact


def _fit_path(value: Any, _: Any) -> Any:
    """Text is a path, unless it is empty."""
    if isinstance(value, str) and value:
        return Path(value)
    return _fit_exactly(Path)(value, _)


def _is_path(hint: Any) -> bool:
    return (typing.get_origin(hint) or hint) in (Path, os.PathLike)


def _is_array_like(hint: Any) -> bool:
    typings: Any = sys.modules.get("numpy.typing")
    return typings is not None and hint is typings.ArrayLike


def _fit_array_like(value: Any) -> Any:
    """Whatever numbers can be read from."""
    numpy: Any = sys.modules["numpy"]
    if value is None or isinstance(value, (str, bytes, Mapping)):
        raise MisfitError
    try:
        kind = numpy.asarray(value).dtype.kind
    except Exception:  # lists of unequal length, tensors on other devices
        raise MisfitError from None
    if kind not in "biuf":
        raise MisfitError
    return value


def _fit_callable(value: Any, inner: Sequence[Any]) -> Any:
    """A class of modules is a function without arguments at most: who gives one for a loss forgot to make it.
    A module makes no module: who gives one made it too early.
    """
    torch: Any = sys.modules.get("torch")
    modules = (torch.nn.Module,) if torch is not None else ()
    unmade = (
        inspect.isclass(value) and issubclass(value, modules) and inner and inner[0] not in ([], Ellipsis)
    )
    makes = bool(inner) and inspect.isclass(inner[-1]) and issubclass(inner[-1], modules)
    if not callable(value) or unmade or (makes and isinstance(value, modules)):
        raise MisfitError
    return value


def _fit_sequence(value: Any, inner: Sequence[Any]) -> Any:
    if inner and inner[0] in (float, int) and getattr(value, "ndim", 0) == 1 and hasattr(value, "tolist"):
        return _fit_items(value.tolist(), inner)
    if (
        isinstance(value, (str, bytes, Mapping))
        or is_torch(value)
        or not (isinstance(value, Sequence) or hasattr(value, "__array__"))
    ):
        raise MisfitError
    return _fit_items(value, inner)


def _fit_items(value: Any, inner: Sequence[Any]) -> Any:
    """Items that are not what they should be are misfits; their numbers are made plain."""
    wanted = [hint for hint in inner if hint is not Ellipsis]
    if not isinstance(value, (list, tuple)) or not wanted or len(value) > _MOST_LOOKED_AT:
        return value
    if isinstance(value, tuple) and len(inner) > 1 and Ellipsis not in inner:
        if len(value) != len(inner):
            raise MisfitError
        items = [fit(hint, item) for hint, item in zip(inner, value)]
    else:
        items = [fit(wanted[0], item) for item in value]
    same = all(new is old for new, old in zip(items, value))
    return value if same or hasattr(value, "_fields") else type(value)(items)


def _fit_tuple(value: Any, inner: Sequence[Any]) -> Any:
    if not isinstance(value, (tuple, list)):
        raise MisfitError
    return _fit_items(tuple(value) if isinstance(value, list) else value, inner)


def _fit_list(value: Any, inner: Sequence[Any]) -> Any:
    if not isinstance(value, list):
        raise MisfitError
    return _fit_items(value, inner)


def _fit_iterable(value: Any, inner: Sequence[Any]) -> Any:
    """A list, a loader, a generator; not a tensor or a module, whose items are something else, nor a class
    that is to be made first.
    """
    goes = hasattr(type(value), "__iter__") or hasattr(type(value), "__getitem__")
    if isinstance(value, (str, bytes, Mapping, type)) or is_torch(value) or not goes:
        raise MisfitError
    return _fit_items(value, inner[:1]) if isinstance(value, list) else value


def _fit_mapping(value: Any, inner: Sequence[Any]) -> Any:
    if not isinstance(value, Mapping):
        raise MisfitError
    if len(inner) != 2 or len(value) > _MOST_LOOKED_AT or type(value) is not dict:
        return value
    items = {fit(inner[0], key): fit(inner[1], item) for key, item in value.items()}
    return value if all(items.get(key) is item for key, item in value.items()) else items


def _fit_array(value: Any, _: Any) -> Any:
    if type(value).__name__ != "ndarray" and not any(
        kind.__name__ == "ndarray" for kind in type(value).__mro__
    ):
        raise MisfitError
    return value


_FITS: dict[Any, Callable[[Any, Any], Any]] = {
    float: _fit_float,
    int: _fit_int,
    bool: _fit_bool,
    str: _fit_exactly(str),
    Path: _fit_path,
    type(None): _fit_exactly(type(None)),
    None: _fit_exactly(type(None)),
    Callable: _fit_callable,
    Sequence: _fit_sequence,
    Collection: _fit_iterable,
    Iterable: _fit_iterable,
    Iterator: _fit_iterable,
    Mapping: _fit_mapping,
    dict: _fit_mapping,
    AbstractSet: _fit_exactly(AbstractSet),
    list: _fit_list,
    tuple: _fit_tuple,
}


__all__ = ["ODD", "MisfitError", "fit"]
