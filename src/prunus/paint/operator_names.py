"""torch's operators by their names: they cannot be pickled themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload


@dataclass(frozen=True)
class ByName:
    """Stands for `torch.ops.<parts>` in a pickle."""

    parts: tuple[str, ...]


def without_operators(value: Any) -> Any:
    """The same nest of tuples, lists, dicts and slices, with names in the place of torch's operators."""
    return _replaced(value, _named)


def with_operators(value: Any) -> Any:
    """What `without_operators` was given; raises AttributeError where an operator is not registered (its
    library has to be imported first).
    """
    return _replaced(value, _found)


def _named(value: Any) -> Any:
    if isinstance(value, OpOverload):
        return ByName((value.namespace, value._schema.name.partition("::")[2], value._overloadname))
    if isinstance(value, HigherOrderOperator):
        return ByName(("higher_order", str(value)))
    return value


def _found(value: Any) -> Any:
    if not isinstance(value, ByName):
        return value
    found: Any = torch.ops
    for part in value.parts:
        found = getattr(found, part)
    return found


def _replaced(value: Any, change: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)([_replaced(item, change) for item in value])
    if type(value) is dict:
        return {key: _replaced(item, change) for key, item in value.items()}
    return change(value)


__all__ = ["ByName", "with_operators", "without_operators"]
