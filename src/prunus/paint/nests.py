"""Nests of tensors in containers and objects of any kind, as models are called with and return them."""

from __future__ import annotations

import copy
import functools
import io
import types
from collections import deque
from collections.abc import Callable, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from prunus._foundation.wording import given
from prunus.errors import ArgumentError

_SEVERAL = (tuple, list, set, frozenset, deque, ValuesView, KeysView)
_NO_CONTAINERS = (Tensor, str, int, float, bytes, type(None))
_PLAIN = (bool, int, float, complex, str)
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
Change = Callable[[Tensor], Tensor]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers, dataclasses and objects, in a fixed order; of packed sequences the
    data alone.
    """
    return (leaf for leaf in _leaves(value, [], set()) if isinstance(leaf, Tensor))


def said_in(value: Any) -> tuple[str, ...]:
    """Every plain number and text in the same nests, spelled out."""
    return tuple(repr(leaf) for leaf in _leaves(value, [], set()) if type(leaf) in _PLAIN)


def read_once(value: Any) -> Any:
    """The first iterator in a nest, which nobody can look into and leave as it is; None if there is none."""
    leaves = _leaves(value, [], set())
    return next((one for one in leaves if isinstance(one, Iterator) and not isinstance(one, io.IOBase)), None)


def held_by_functions(value: Any) -> Iterator[Tensor]:
    """The tensors that functions in a nest hold, to compute with when they are called."""
    seen = set[int]()
    waiting = [leaf for leaf in _leaves(value, [], set()) if isinstance(leaf, _FUNCTIONS)]
    while waiting:
        function = waiting.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        for leaf in _leaves(_held(function), [], set()):
            if isinstance(leaf, Tensor):
                yield leaf
            elif isinstance(leaf, _FUNCTIONS):
                waiting.append(leaf)


def _held(function: Any) -> list[Any]:
    """What a function holds beside its code."""
    if isinstance(function, functools.partial):
        return [function.func, function.args, function.keywords]
    if isinstance(function, types.MethodType):
        return [function.__self__, function.__func__]
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    return [*cells, function.__defaults__, function.__kwdefaults__]


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # raises where there is nothing yet
    except ValueError:
        return False
    return True


def _leaves(value: Any, around: list[int], seen: set[int]) -> Iterator[Any]:
    """What a nest holds that is no container itself.

    `around` are the containers that a value stands in, which it may hold again; `seen` the objects, of which
    each is looked at once.
    """
    inside = None if isinstance(value, _NO_CONTAINERS) else _inside(value)
    if inside is None:
        yield value
    elif id(value) not in around and not (id(value) in seen and _is_object(value)):
        seen.add(id(value))
        around.append(id(value))
        for one in inside:
            yield from _leaves(one, around, seen)
        around.pop()


def _inside(value: Any) -> Sequence[Any] | None:
    """What a container or an object holds; None for what is neither."""
    if isinstance(value, PackedSequence):
        return [value.data]
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, _SEVERAL):
        return list(value)
    return list(_attributes(value).values()) if _is_object(value) else None


def _is_object(value: Any) -> bool:
    """Whether a value is an object with attributes of its own, and no part of a program."""
    if isinstance(value, (Tensor, Mapping, *_SEVERAL, type, types.ModuleType, torch.nn.Module, *_FUNCTIONS)):
        return False
    return hasattr(value, "__dict__") or bool(_attributes(value))


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots included."""
    slots = [
        name
        for base in reversed(type(value).__mro__)
        if "__slots__" in vars(base)
        for name, held in vars(base).items()
        if isinstance(held, types.MemberDescriptorType) and name != "__dict__"
    ]
    return {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(
        value, "__dict__", {}
    )


def map_tensors(value: Any, change: Change) -> Any:
    """The same nest with every tensor of `tensors_in` replaced, in the same order; containers and objects
    that hold tensors are copied.

    Raises ArgumentError for an object that holds tensors and cannot be copied.
    """
    return _mapped(value, change, {})


def _mapped(value: Any, change: Change, made: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, PackedSequence):
        return value._replace(data=change(value.data))
    if isinstance(value, tuple):
        items = [_mapped(one, change, made) for one in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, types.MappingProxyType):
        return types.MappingProxyType({key: _mapped(one, change, made) for key, one in value.items()})
    if isinstance(value, (set, frozenset)):
        return type(value)(_mapped(one, change, made) for one in value)
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, (dict, list, deque)) or (
        isinstance(value, Mapping) and hasattr(value, "__setitem__")
    ):
        return _filled(value, change, made)
    if _is_object(value) and any(True for _ in tensors_in(value)):
        made[id(value)] = result = _copied(value)
        for name, one in _attributes(value).items():
            object.__setattr__(result, name, _mapped(one, change, made))
        return result
    return value


def _filled(value: Any, change: Change, made: dict[int, Any]) -> Any:
    """A copy of a dict, a list or the like, with other things in it."""
    made[id(value)] = result = _copied(value)
    if isinstance(value, Mapping):
        for key, one in value.items():
            result[key] = _mapped(one, change, made)
    else:
        result.clear()
        result.extend([_mapped(one, change, made) for one in value])
    del made[id(value)]  # it may stand elsewhere, too, where its tensors are others that `tensors_in` gives
    return result


def _copied(value: Any) -> Any:
    try:
        return copy.copy(value)
    except Exception as error:  # an object of anybody's
        raise ArgumentError(
            f"The inputs hold {given(value)}, which cannot be copied ({type(error).__name__}: {error}); give"
            " its tensors in a dict or a list."
        ) from error


__all__ = ["held_by_functions", "map_tensors", "read_once", "said_in", "tensors_in"]
