"""What a network was built by: its name in the catalogue, and the options. It hangs on the network, and stays
on what surgery makes of it, so that a file can say in a few bytes what a reader has to build.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

from torch import nn

_F = TypeVar("_F", bound=Callable[..., nn.Module])
_NOTE = "prunus_built"


@dataclass(frozen=True)
class Built:
    """How a network was built.

    Attributes:
        name: of the catalogue, such as "lenet5" or "timm/resnet18".
        options: beside its name, those alone that differ from the builder's own.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()


def noted(builder: _F) -> _F:
    """Let what a builder of ours makes say how it was built."""
    signature = inspect.signature(builder)

    @wraps(builder)
    def build(*args: Any, **kwargs: Any) -> nn.Module:
        given = signature.bind(*args, **kwargs).arguments
        differing = {key: value for key, value in given.items() if value != signature.parameters[key].default}
        return note(builder(*args, **kwargs), builder.__name__, differing)

    return cast(_F, build)


def note(model: nn.Module, name: str, options: Mapping[str, Any]) -> nn.Module:
    """Write on a model how it was built; the model."""
    object.__setattr__(model, _NOTE, Built(name, tuple(options.items())))
    return model


def built_as(model: nn.Module) -> Built | None:
    """How a model was built, or what it was made of; None where nobody noted it."""
    found = vars(model).get(_NOTE)
    return found if isinstance(found, Built) else None


__all__ = ["Built", "built_as", "note", "noted"]
