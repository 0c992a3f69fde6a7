"""An operator call as a rule sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from prunus.paint.canvas import Canvas
from prunus.paint.records import Labels, Paint, Stripe, is_zero

Tensors = tuple[Tensor, ...]


@dataclass(slots=True)
class Call:
    """An operator call as a rule sees it."""

    canvas: Canvas
    operator: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Tensors
    tensors: Tensors
    # axes of parameters that are multiplied with channels and summed over
    consumed: list[Labels] = field(default_factory=list)

    def arg(self, index: int, name: str, default: Any = None) -> Any:
        """Positional argument `index`, or the keyword `name`."""
        if index < len(self.args):
            return self.args[index]
        return self.kwargs.get(name, default)

    def paint(self, tensor: Tensor | None) -> Paint:
        """The stripes of a tensor."""
        return () if tensor is None else self.canvas.paint_of(tensor)

    def stripes(self, tensor: Tensor | None, axis: int) -> list[Stripe]:
        """The stripes of a tensor that vary along `axis`."""
        if tensor is None:
            return []
        if axis < 0:
            axis += tensor.dim()
        return [stripe for stripe in self.canvas.paint_of(tensor) if stripe.axis == axis]

    def pin(self, stripes: Sequence[Stripe], reason: str) -> None:
        """Never prune these colours."""
        for stripe in stripes:
            self.canvas.pin(stripe.labels, reason, self.operator)

    def inexact(self, stripes: Sequence[Stripe], reason: str) -> None:
        """Removing these colours changes the function of what is left."""
        for stripe in stripes:
            self.canvas.inexact(stripe.labels, reason, self.operator)

    def averaged(self, stripes: Sequence[Stripe], reason: str) -> None:
        """The operator takes a statistic over these colours: exact where they become zero, and their number
        is kept in mind; else inexact.
        """
        for stripe in stripes:
            if is_zero(stripe.dead):
                self.canvas.averaged(stripe, reason, self.operator)
                if all(map(self.canvas.is_fixed, self.tensors)):
                    self.canvas.relied.append(stripe.labels)
            else:
                self.canvas.inexact(stripe.labels, reason, self.operator)


Rule = Callable[[Call], Sequence[Paint]]


def tensors_of(*containers: Iterable[Any]) -> Tensors:
    """All tensors in argument lists and dicts, nested ones included, in order."""
    found: list[Tensor] = []
    for container in containers:
        for value in container.values() if isinstance(container, dict) else container:
            if isinstance(value, Tensor):
                found.append(value)
            elif (
                isinstance(value, (list, tuple)) and value and type(value[0]) is not int
            ):  # sizes and strides hold none
                found.extend(tensors_of(value))
    return tuple(found)


def made_by(result: Any) -> Tensors:
    """The tensors among what an operator returns, which may be one, several, a number or nothing."""
    return tensors_of(result if isinstance(result, (tuple, list)) else (result,))


def with_other(value: Any, old: Tensor, new: Tensor) -> Any:
    """The same nest of arguments with another tensor in place of one."""
    if isinstance(value, Tensor):
        return new if value is old else value
    if isinstance(value, dict):
        return {key: with_other(one, old, new) for key, one in value.items()}
    return type(value)(with_other(one, old, new) for one in value) if type(value) in (list, tuple) else value
