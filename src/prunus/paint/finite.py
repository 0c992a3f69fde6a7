"""Conditions that ask whether numbers are finite: painting takes it that they are, so it has the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from prunus.paint.records import Record

_PASSED = frozenset({"all", "any", "_is_all_true", "alias", "clone", "view", "detach", "_to_copy", "squeeze"})
_NOT = frozenset({"bitwise_not", "logical_not"})
_AND = frozenset({"mul", "bitwise_and", "logical_and"})
_OR = frozenset({"bitwise_or", "logical_or"})


def holds_if_finite(records: Sequence[Record], tensor: Tensor) -> bool | None:
    """What a condition is, everywhere, as long as all numbers are finite; None for any other condition.

    `torch.isfinite(x)` is `(x == x) * (abs(x) != inf)` by the time it gets here.
    """
    index = next((i for i in reversed(range(len(records))) if _makes(records[i], tensor)), None)
    if index is None:
        return None
    record, before = records[index], records[:index]
    parts = [holds_if_finite(before, part) for part in record.tensors if record.operator in _COMBINED]
    match record.operator:
        case "isnan" | "isinf":
            return False
        case "eq" | "ne" if _never_equal(record):
            return record.operator == "ne"
        case "eq" | "ne" if len(record.tensors) == 2 and record.tensors[0] is record.tensors[1]:
            return record.operator == "eq"
        case operator if operator in _PASSED:
            return True if operator == "_is_all_true" else parts[0]
        case operator if operator in _NOT:
            return None if parts[0] is None else not parts[0]
        case operator if operator in _AND and len(parts) == 2:
            return all(parts) if None not in parts or False in parts else None
        case operator if operator in _OR and len(parts) == 2:
            return any(parts) if None not in parts or True in parts else None
    return None


_COMBINED = _PASSED | _NOT | _AND | _OR


def _makes(record: Record, tensor: Tensor) -> bool:
    return any(output is tensor for output in record.outputs)


def _never_equal(record: Record) -> bool:
    """Whether numbers are compared with infinity."""
    other = record.args[1] if len(record.args) > 1 else None
    return isinstance(other, float) and math.isinf(other)
