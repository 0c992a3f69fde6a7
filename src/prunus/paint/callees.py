"""Which functions of a user's a function may call, as far as its code names them: by their own names, as
attributes of modules, classes and objects, and out of lists and dictionaries.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Set
from functools import partial
from typing import Any

import torch
from torch import nn

_DEPTH = 3  # of a module in a module, a list in a dictionary
_SIMPLE = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    torch.Tensor,
    nn.Module,
)  # modules speak for themselves
_CALLED = "__call__"


def callees(function: types.FunctionType) -> Iterator[types.FunctionType]:
    """The user's functions that a function reaches by what it names of its globals, or holds in its
    closure.
    """
    names = names_in(function)
    for value in (*map(function.__globals__.get, names), *_held(function)):
        yield from functions_of(value, names)


def functions_of(value: Any, names: Set[str], depth: int = _DEPTH) -> Iterator[types.FunctionType]:
    """The user's functions that a value is, or that are had from it by these names, by calling it or as one
    of its members.
    """
    function = plain(value)
    if isinstance(function, types.FunctionType):
        if not is_torchs(function.__module__ or ""):
            yield function
        elif differentiates(value):
            yield value.__self__.backward
    elif depth and not isinstance(value, _SIMPLE):
        for one in _had_from(value, names):
            yield from functions_of(one, names, depth - 1)


def _had_from(value: Any, names: Set[str]) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value
    elif isinstance(value, types.ModuleType):
        if not is_torchs(value.__name__):
            yield from (vars(value)[name] for name in names & vars(value).keys())
    else:
        own = vars(value) if hasattr(value, "__dict__") and not isinstance(value, type) else {}
        yield from (own[name] for name in names & own.keys())
        kind = value if isinstance(value, type) else type(value)
        if not issubclass(kind, nn.Module):
            yield from (one for name, one in defined(kind) if name in names or name == _CALLED)


def differentiates(value: Any) -> bool:
    """Whether a value is the `apply` of a `torch.autograd.Function`."""
    owner = getattr(value, "__self__", None)
    return isinstance(owner, type) and issubclass(owner, torch.autograd.Function)


def defined(kind: type) -> Iterator[tuple[str, Any]]:
    """What a user's class and the user's classes above it define, by name."""
    return (
        (name, value)
        for base in kind.__mro__
        if not is_torchs(base.__module__)
        for name, value in vars(base).items()
    )


def names_in(function: types.FunctionType) -> Set[str]:
    """The names of globals and attributes that a function reads, and those inside it."""
    return {name for code in codes(function.__code__) for name in code.co_names}


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def plain(function: Any) -> Callable[..., Any] | Any:
    """A function without what it is wrapped in: partial arguments, its object, decorators."""
    while True:
        if isinstance(function, partial):
            function = function.func
        elif isinstance(function, (staticmethod, classmethod, types.MethodType)):
            function = function.__func__
        elif isinstance(function, property):
            function = function.fget
        elif isinstance(function, types.FunctionType) and hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return function


def _held(function: types.FunctionType) -> Iterator[Any]:
    """What a function holds in its closure."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # nothing yet
            continue


def is_torchs(module: str) -> bool:
    """Whether a module of this name belongs to torch."""
    return module == "torch" or module.startswith("torch.")


__all__ = ["callees", "codes", "defined", "differentiates", "functions_of", "is_torchs", "names_in", "plain"]
