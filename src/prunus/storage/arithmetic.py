"""Arithmetic on sizes in a traced graph: which functions a file may call, and a bound on every whole number
that they can give.

Python's whole numbers have no end, so a few powers in a file could keep a machine busy for ever. Sizes of
tensors have at most 63 bits; from these, the bits of every result are bounded before anything is computed,
whatever the inputs will be.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prunus.errors import FileFormatError

SIZE_BITS = 63
MOST_BITS = 1 << 14
_FLOAT_BITS = 1024  # of the whole part of the largest float
_MOST_POWER = 64

_OF_FLOATS = ("sqrt", "log2", "cos", "cosh", "sin", "sinh", "tan", "tanh", "acos", "asin", "atan")
_TO_FLOAT = ("truediv", "sym_float", "math.sqrt", *(f"_sym_{name}" for name in _OF_FLOATS))
_TO_BOOL = ("eq", "ne", "lt", "le", "gt", "ge", "not_", "sym_not")

ON_TENSORS = frozenset(("mul", "add", "sub", "truediv", "neg", "pow"))  # what the formulas of norms write
SYMBOLIC: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(operator, name)
        for name in ("mul", "add", "sub", "floordiv", "truediv", "mod", "neg", "pow", "getitem")
    },
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_")},
    **{
        f"sym_{name}": getattr(torch, f"sym_{name}")
        for name in ("max", "min", "int", "float", "not", "ite", "sum")
        if hasattr(torch, f"sym_{name}")
    },
    **{
        f"_sym_{name}": getattr(torch, f"_sym_{name}")
        for name in _OF_FLOATS
        if hasattr(torch, f"_sym_{name}")
    },
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    "round": round,
}
NAMES: dict[Callable[..., Any], str] = {function: name for name, function in SYMBOLIC.items()}


@dataclass(frozen=True)
class Number:
    """A number that a graph computes: `bits` bounds its whole part, `whole` says whether it is a whole
    number.
    """

    bits: int
    whole: bool


SIZE = Number(SIZE_BITS, True)
_FLOAT = Number(_FLOAT_BITS, False)
_BOOL = Number(1, True)


def number_of(value: object) -> Number | None:
    """The bound of a literal; None if it is no number."""
    if isinstance(value, float):
        return _FLOAT
    return Number(value.bit_length(), True) if isinstance(value, int) else None


def result_of(name: str, operands: Sequence[Any]) -> Number:
    """What a function of sizes gives.

    Args:
        name: in `SYMBOLIC`, but for "getitem".
        operands: a `Number` for every value of the graph, literals as they are.

    Raises:
        FileFormatError: an operand is no number, or the result may be too long.
    """
    if name == "sym_sum" and len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = operands[0]
    if name == "round" and len(operands) == 2 and operands[1] is None:
        operands = operands[:1]
    numbers = [value if isinstance(value, Number) else number_of(value) for value in operands]
    if not numbers or None in numbers:
        raise FileFormatError(f"The traced graph calls {name} on something else than numbers.")
    found = _bounded(name, [number for number in numbers if number is not None], operands)
    if found.bits > MOST_BITS:
        raise FileFormatError(
            f"The traced graph computes a number of more than {MOST_BITS} bits by {name}; no size of a tensor"
            " is as large."
        )
    return found


def _bounded(name: str, numbers: Sequence[Number], operands: Sequence[Any]) -> Number:
    if name in _TO_BOOL:
        return _BOOL
    if name in _TO_FLOAT:
        return _FLOAT
    if name == "pow":
        return _power(numbers, operands)
    if name.startswith("math.") or name in ("sym_int", "round"):
        return Number(numbers[0].bits, True)
    if not all(number.whole for number in numbers):
        return _FLOAT
    if name == "mul":
        return Number(sum(number.bits for number in numbers), True)
    return Number(max(number.bits for number in numbers) + len(operands), True)


def _power(numbers: Sequence[Number], operands: Sequence[Any]) -> Number:
    exponent = operands[1] if len(operands) == 2 else None
    if len(numbers) == 2 and not numbers[0].whole:
        return _FLOAT
    if isinstance(exponent, float) or (
        isinstance(exponent, int) and (-_MOST_POWER <= exponent < 0 or not numbers[0].whole)
    ):
        return _FLOAT
    if not isinstance(exponent, int) or not 0 <= exponent <= _MOST_POWER:
        raise FileFormatError(
            f"The traced graph takes a power of a size that is not a fixed number up to {_MOST_POWER}."
        )
    return Number(numbers[0].bits * exponent + 1, True)


__all__ = ["MOST_BITS", "NAMES", "ON_TENSORS", "SIZE", "SYMBOLIC", "Number", "number_of", "result_of"]
