"""Functions and hooks that a module holds, written as closures over a model, which work on its copy."""

from __future__ import annotations

import types
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from torch import nn

from prunus.paint.caches import Remembering

_HOOKS = frozenset(name for name in vars(nn.Module()) if name.endswith("_hooks"))


def owns(module: nn.Module) -> bool:
    """Whether a module holds functions or hooks."""
    return any(
        type(value) in (types.FunctionType, Remembering) or (name in _HOOKS and value)
        for name, value in module.__dict__.items()
    )


def rebind_closures(owners: Sequence[nn.Module], memo: dict[int, Any]) -> None:
    """Hooks and functions of a model that were written as closures over it, or over a part of it, work on the
    copy.
    """
    for module in owners:
        state = vars(memo[id(module)])
        for name, value in state.items():
            if isinstance(value, types.FunctionType):
                state[name] = _rebound(value, memo)
            elif isinstance(value, Remembering):  # with a memory of its own
                kept: Any = value
                function = _rebound(kept.__wrapped__, memo)
                state[name] = lru_cache(**kept.cache_parameters())(function)
            elif name in _HOOKS and value:
                state[name] = type(value)((key, _rebound(hook, memo)) for key, hook in value.items())


def _rebound(function: Any, memo: dict[int, Any]) -> Any:
    """A function whose closure holds copies where it held what was copied; a method, of the copy."""
    if isinstance(function, types.MethodType):
        return types.MethodType(function.__func__, memo.get(id(function.__self__), function.__self__))
    if not isinstance(function, types.FunctionType) or not function.__closure__:
        return function
    cells = [cell if _is_empty(cell) else _copied_cell(cell, memo) for cell in function.__closure__]
    if all(new is old for new, old in zip(cells, function.__closure__)):
        return function
    result = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells)
    )
    result.__kwdefaults__, result.__dict__ = function.__kwdefaults__, dict(function.__dict__)
    return result


def _copied_cell(cell: types.CellType, memo: dict[int, Any]) -> types.CellType:
    held = cell.cell_contents
    if isinstance(held, nn.Module) and id(held) in memo:
        return types.CellType(memo[id(held)])
    if isinstance(held, types.FunctionType):
        rebound = _rebound(held, memo)
        return cell if rebound is held else types.CellType(rebound)
    return cell


def _is_empty(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False
