"""Whether the code of a model does anything else in train mode, as far as its source names it: the mode, gradients, or another `train()`.

What is said here only saves time: a model that hides its mode elsewhere is caught where the compact model is compared in training.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cache, partial
from typing import Any, cast

from torch import nn

_TELLS = frozenset({"training", "is_grad_enabled", "is_inference_mode_enabled", "requires_grad"})
_NOISE = ("drop_prob", "drop_rate", "p")  # of layers that leave out whole branches
_DEPTH = 3  # calls of functions from functions


def trains_alike(modules: Mapping[str, nn.Module]) -> bool:
    """Whether nothing in a model asks for its mode but batch norms and dropout, which read the same in both."""
    return all(map(_alike, modules.values()))


def _alike(module: nn.Module) -> bool:
    own, kind = vars(module), type(module)
    if "forward" in own or any(value for name, value in own.items() if name.endswith("_hooks")):
        return False
    if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)):
        return kind.train is nn.Module.train
    if _is_torchs(kind.__module__):
        return True
    if any(asks(value) for value in own.values() if isinstance(value, (types.FunctionType, types.MethodType, partial))):
        return False
    return not _kind_asks(cast(Hashable, kind)) or (_drops(kind) and any(own.get(name) in (0, 0.0, None) for name in _NOISE if name in own))


def _drops(kind: type) -> bool:
    """Layers that leave out branches by chance: the mode counts for nothing where the chance is zero."""
    return "drop" in kind.__name__.lower() or "stochasticdepth" in kind.__name__.lower()


@cache
def _kind_asks(kind: Any) -> bool:
    if kind.train is not nn.Module.train:
        return True
    functions = (value for base in kind.__mro__ if not _is_torchs(base.__module__) for value in vars(base).values())
    return any(asks(function) for function in functions)


def asks(function: Any, depth: int = _DEPTH) -> bool:
    """Whether a function, or one that it calls by a global name, asks for a mode."""
    function = _plain(function)
    return isinstance(function, types.FunctionType) and any(_code_asks(code, function, depth) for code in _codes(function.__code__))


def _code_asks(code: types.CodeType, function: types.FunctionType, depth: int) -> bool:
    if not _TELLS.isdisjoint(code.co_names):
        return True
    if not depth:
        return False
    named = (function.__globals__.get(name) for name in code.co_names)
    return any(asks(one, depth - 1) for one in (*named, *_held(function)) if _is_users(one))


def _held(function: types.FunctionType) -> Iterator[Any]:
    """What a function holds in its closure."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # nothing yet
            continue


def _is_users(value: Any) -> bool:
    plain = _plain(value)
    return isinstance(plain, types.FunctionType) and not _is_torchs(plain.__module__ or "")


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code and that of the functions written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _plain(function: Any) -> Callable[..., Any] | Any:
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


def _is_torchs(module: str) -> bool:
    return module == "torch" or module.startswith("torch.")


__all__ = ["asks", "trains_alike"]
