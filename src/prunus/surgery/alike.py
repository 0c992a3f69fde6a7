"""Whether an operator is called as it was before anything was removed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor

from prunus.paint.call import Tensors
from prunus.paint.records import Paint, Record
from prunus.paint.rules import is_pointwise

WITH_NUMBERS = frozenset({"addmm", "baddbmm", "addmv", "addbmm", "addr", "full_like"})  # whole ones, too


def single(paint: Paint) -> bool:
    """Whether no axis holds two sets of channels."""
    return len(paint) < 2 or len({stripe.axis for stripe in paint}) == len(paint)


def untouched(mine: Tensors, dense: Tensors) -> bool:
    """Whether nothing was removed from any operand, so that any operator does what it did."""
    return all(a.shape == b.shape for a, b in zip(mine, dense))


def same_arguments(mine: Sequence[Any], dense: Sequence[Any], implied: Collection[int] = ()) -> bool:
    """Whether there is a tensor where there was one, and everything else is equal."""
    if len(mine) != len(dense):
        return False
    for position, (a, b) in enumerate(zip(mine, dense)):
        if a is b:
            continue
        if isinstance(a, Tensor):
            if not isinstance(b, Tensor):
                return False
        elif type(a) is not type(b):
            return False
        elif (
            isinstance(a, (list, tuple)) and a and not isinstance(a[0], (int, float))
        ):  # tensors, or None in place of one
            if not same_arguments(a, b):
                return False
        elif a != b and position not in implied:
            return False
    return True


def same_options(mine: dict[str, Any], dense: dict[str, Any]) -> bool:
    """The same of named arguments, in their order."""
    return list(mine) == list(dense) and same_arguments(list(mine.values()), list(dense.values()))


def numbers(record: Record) -> list[float]:
    """What an operator computes with: all numbers where it works slot by slot, else those that are not whole,
    which say no axis, size or slot.
    """
    kinds = (
        (int, float)
        if is_pointwise(record.func, record.operator) or record.operator in WITH_NUMBERS
        else (float,)
    )
    found = []
    waiting: list[Any] = [record.args, list(record.kwargs.values())]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, kinds) and not isinstance(value, bool):
            found.append(value)
    return found
