"""The rule book: what each operator does to the stripes of paint.

A rule takes a `Call` and returns one `Paint` (a tuple of stripes) per output tensor. It may couple colours,
pin them with a reason, or note that removing them is inexact. Operators that torch tags as pointwise need no
rule of their own; an operator without a rule pins what it touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint
from prunus.paint.rules import (
    contraction,
    copies,
    fourier,
    indexing,
    losses,
    normalisation,
    order,
    pieces,
    planes,
    quantisation,
    reduction,
    scatter,
    shape,
    shuffles,
    spatial,
    weights,
    windows,
)
from prunus.paint.rules.pointwise import pointwise

# Elementwise operators that torch does not tag as pointwise.
_UNTAGGED = (
    *"hardswish prelu _prelu_kernel log_sigmoid_forward log_sigmoid copy fill zero rsub floor_divide".split(),
    *("__and__", "__or__", "__xor__", "rrelu_with_noise", "where", "masked_fill", "masked_fill_"),
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNTAGGED, pointwise),
    **shape.RULES,
    **shuffles.RULES,
    **copies.RULES,
    **pieces.RULES,
    **contraction.RULES,
    **normalisation.RULES,
    **reduction.RULES,
    **spatial.RULES,
    **indexing.RULES,
    **losses.RULES,
    **quantisation.RULES,
    **scatter.RULES,
    **order.RULES,
    **windows.RULES,
    **planes.RULES,
    **fourier.RULES,
    **weights.RULES,
}


def fallback(call: Call) -> Sequence[Paint]:
    """What happens to an operator without a rule: pointwise ones follow the general rule, all others pin what
    they touch.
    """
    if is_pointwise(call.func, call.operator):
        return pointwise(call)
    for tensor in call.tensors:
        call.pin(call.paint(tensor), f"operator {call.operator} has no rule")
    return ((),) * len(call.outputs)


@lru_cache(maxsize=4096)
def is_pointwise(func: Any, operator: str) -> bool:
    """Whether an operator works slot by slot. In-place operators are not tagged so; their functional twins
    are.
    """
    if torch.Tag.pointwise in func.tags or operator in _UNTAGGED:
        return True
    packet = getattr(torch.ops.aten, operator.rstrip("_"), None) if operator.endswith("_") else None
    if packet is None:
        return False
    overload = func._overloadname
    twin = getattr(packet, overload if overload in packet.overloads() else packet.overloads()[0])
    return torch.Tag.pointwise in twin.tags


__all__ = ["RULES", "fallback", "is_pointwise"]
