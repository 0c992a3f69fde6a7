"""A plugin of mypy, for tests and benchmarks: what hangs on a module of theirs is of any type, and so is a
module that a function of prunus or of theirs returns.

For torch an attribute of a module is a tensor or a module, so that neither `net.weight[0]` nor `net.layer(x)`
is right, and nothing is learnt from that: tests build networks of parts that they have just named. The
library, which gets modules from others, is not spared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mypy.checker import TypeChecker
from mypy.plugin import AttributeContext, FunctionContext, Plugin
from mypy.types import AnyType, Instance, Type, TypeOfAny, get_proper_type

MODULE = "torch.nn.modules.module.Module"
FOLDERS = ("tests", "benchmarks")


def of_any_type(context: AttributeContext) -> Type:
    """Any, in the folders above."""
    return _freed(context, context.default_attr_type)


def returned(context: FunctionContext) -> Type:
    """Any in the place of a module, in the folders above."""
    found = get_proper_type(context.default_return_type)
    is_module = isinstance(found, Instance) and found.type.fullname == MODULE
    return _freed(context, found) if is_module else context.default_return_type


def _freed(context: AttributeContext | FunctionContext, otherwise: Type) -> Type:
    assert isinstance(context.api, TypeChecker)
    spared = Path(context.api.path).parts[0] in FOLDERS
    return AnyType(TypeOfAny.special_form) if spared else otherwise


class Attributes(Plugin):
    """Asked about every attribute that no class declares, and about every call."""

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        """For attributes of modules."""
        return of_any_type if fullname.startswith(f"{MODULE}.") else None

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        """For functions of prunus and its tests."""
        return returned if fullname.startswith(("prunus.", "tests.", "benchmarks.")) else None


def plugin(version: str) -> type[Plugin]:
    """What mypy asks for."""
    return Attributes
