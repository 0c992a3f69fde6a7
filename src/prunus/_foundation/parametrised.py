"""Putting a parametrisation on a module that may be a copy of another one."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils import parametrize


def put_on(module: nn.Module, name: str, parametrisation: nn.Module, *, unsafe: bool = False) -> None:
    """`torch.nn.utils.parametrize.register_parametrization`, of this module alone.

    torch gives a parametrised module a class of its own, with a property for every tensor; copies of the
    module share that class, so that another property would be one of theirs too, who have no such
    parametrisation.
    """
    if parametrize.is_parametrized(module):
        kind: Any = type(module)
        module.__class__ = type(kind.__name__, kind.__bases__, dict(vars(kind)))
    parametrize.register_parametrization(module, name, parametrisation, unsafe=unsafe)


__all__ = ["put_on"]
