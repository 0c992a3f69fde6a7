"""A plugin of mypy, for tests and benchmarks: what hangs on a module of theirs is of any type.

For torch an attribute of a module is a tensor or a module, so that neither `net.weight[0]` nor `net.layer(x)`
is right, and nothing is learnt from that: tests build networks of parts that they have just named. The
library, which gets modules from others, is not spared.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mypy.checker import TypeChecker
from mypy.plugin import AttributeContext, Plugin
from mypy.types import AnyType, Type, TypeOfAny

MODULE = "torch.nn.modules.module.Module."
FOLDERS = ("tests", "benchmarks")


def of_any_type(context: AttributeContext) -> Type:
    """Any, in the folders above."""
    assert isinstance(context.api, TypeChecker)
    if Path(context.api.path).parts[0] in FOLDERS:
        return AnyType(TypeOfAny.special_form)
    return context.default_attr_type


class Attributes(Plugin):
    """Asked about every attribute that no class declares."""

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        """The function above, for those of modules."""
        return of_any_type if fullname.startswith(MODULE) else None


def plugin(version: str) -> type[Plugin]:
    """What mypy asks for."""
    return Attributes
