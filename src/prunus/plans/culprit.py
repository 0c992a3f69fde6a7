"""Where the first value that is not finite comes from in a forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from prunus._foundation.agreement import not_finite
from prunus.paint.inputs import tensors_in
from prunus.paint.model_copy import walk


@dataclass(frozen=True)
class Culprit:
    """What a model's outputs hold instead of numbers ("NaN" or "infinity"), and the first module whose
    outputs do, with what they hold.
    """

    kind: str
    module: str
    first_kind: str

    def __str__(self) -> str:
        return (
            f"first in {self.module}"
            if self.first_kind == self.kind
            else f"after {self.first_kind} in {self.module}"
        )


def find_culprit(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Culprit | None:
    """Run a model as it is; None if its outputs are finite."""
    seen: list[tuple[str, str]] = []

    def look(name: str, module: nn.Module, made: Any) -> None:
        kind = "" if seen else not_finite(tensors_in(made))
        if kind:
            seen.append(
                (
                    f"{name} ({type(module).__name__})"
                    if name
                    else f"the forward of {type(module).__name__} itself",
                    kind,
                )
            )

    hooks = [
        module.register_forward_hook(lambda module, _, made, name=name: look(name, module, made))
        for name, module in walk(model).items()
        if not isinstance(module, nn.modules.lazy.LazyModuleMixin)
    ]
    try:
        made: list[Tensor] = list(tensors_in(model(*args, **kwargs)))
    finally:
        for hook in hooks:
            hook.remove()
    kind = not_finite(made)
    if not kind:
        return None
    where, first = seen[0] if seen else (f"the forward of {type(model).__name__} itself", kind)
    return Culprit(kind, where, first)
