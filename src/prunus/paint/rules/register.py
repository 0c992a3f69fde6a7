"""Rules for operators that prunus does not know: what a torch.library operator of your own does to channels,
said by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from prunus._foundation.arguments import door
from prunus.errors import ArgumentError
from prunus.paint.call import Call, Rule
from prunus.paint.records import Paint, Stripe, unknown_like
from prunus.paint.rules import RULES
from prunus.paint.rules.pointwise import pointwise


def _per_channel(call: Call) -> Sequence[Paint]:
    """Works inside each channel of (N, C, ...): other axes of the first tensor are pinned, and vectors along
    the channels go with them.
    """
    x, *others = call.tensors
    found = call.stripes(x, 1)
    call.pin([y for y in call.paint(x) if y.axis > 1], "a spatial axis")
    for tensor in others:
        mine = call.stripes(tensor, 0) if tensor.dim() and tensor.shape[0] == x.shape[1] else []
        call.pin(
            [y for y in call.paint(tensor) if all(y is not one for one in mine)],
            "an axis that is no channels",
        )
        if len(mine) == len(found) == 1:
            call.canvas.couple(found[0].labels, mine[0].labels)
        else:
            call.pin([*mine, *(found if mine else [])], "meets an unpainted tensor")
    stripes = [Stripe(y.axis, y.labels, unknown_like(y.labels)) for y in call.paint(x) if y.axis <= 1]
    return [
        tuple(y for y in stripes if out.dim() > y.axis and out.shape[y.axis] == len(y.labels))
        for out in call.outputs
    ]


_KINDS: dict[str, Rule] = {"pointwise": pointwise, "per channel": _per_channel}


def _as(like: str) -> Rule | None:
    """The rule of another operator, which may look at the name that it is called for."""
    rule = RULES.get(like)
    return None if rule is None else lambda call: rule(replace(call, operator=like))


@door(ArgumentError)
def paint_rule(operator: str, like: str | None = None) -> Callable[[Rule], Rule]:
    """Say what an operator does to channels, where prunus would pin them, as it does not know.

    Args:
        operator: its name in torch's registry, "namespace::name", for all of its overloads.
        like: "pointwise", which works element by element, with broadcasting; "per channel", which works
            inside each channel of (N, C, ...) tensors and may take vectors with an entry per channel; or the
            name of an ATen operator that does the same to channels with the same arguments, such as
            "_softmax". None: the returned decorator gets the rule, a function of a `Call` that gives one
            tuple of stripes per output.

    Returns:
        A decorator for the rule, which needs not be used where `like` is given.

    Raises ArgumentError if the operator is not registered with torch, or nothing is known of `like`.
    """
    namespace, _, name = operator.partition("::")
    if not name or not hasattr(getattr(torch.ops, namespace), name):
        raise ArgumentError(
            f"There is no operator {operator!r}; register it first, and name it as torch.library does:"
            " 'namespace::name'."
        )
    known = None if like is None else _KINDS.get(like) or _as(like)
    if like is not None and known is None:
        raise ArgumentError(
            f"Nothing is known of an operator like {like!r}; say 'pointwise', 'per channel' or an ATen"
            " operator that has a rule."
        )
    if known is not None:
        RULES[operator] = known

    def register(rule: Rule) -> Rule:
        RULES[operator] = rule
        return rule

    return register


__all__ = ["paint_rule"]
