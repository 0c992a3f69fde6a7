"""What a function of this package takes, read from its source: help lists the settings of a method without
importing it, and torch with it.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

PACKAGE = __name__.partition(".")[0]
PLAIN = ("collections.abc", "pathlib", "typing")  # modules of the standard library that annotations are from


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, what its annotation and its default stand for; Any where only importing what
    they are made of would say.
    """

    name: str
    hint: Any
    default: Any


def parameters_of(module: str, name: str) -> tuple[tuple[Parameter, ...], str]:
    """The parameters of a function, and its docstring."""
    (function,) = (
        node for node in _tree(module).body if isinstance(node, ast.FunctionDef) and node.name == name
    )
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(plain) - len(given.defaults)), *given.defaults, *given.kw_defaults]
    found = (
        Parameter(one.arg, _evaluated(module, one.annotation), _evaluated(module, default))
        for one, default in zip([*plain, *given.kwonlyargs], defaults)
    )
    return tuple(found), ast.get_docstring(function) or ""


@cache
def _tree(module: str) -> ast.Module:
    """The source of a module, found beside its neighbours: looking a module up would import its package."""
    *rooms, name = module.split(".")[1:]
    room = files(PACKAGE).joinpath(*rooms)
    file = room.joinpath(f"{name}.py")
    source: str = (file if file.is_file() else room.joinpath(name, "__init__.py")).read_text("utf-8")
    return ast.parse(source)


class _Names(dict[str, Any]):
    """What the names of a module stand for."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.module = module

    def __missing__(self, name: str) -> Any:
        return _named(self.module, name)


def _evaluated(module: str, expression: ast.expr | None) -> Any:
    if expression is None:
        return Any
    code = compile(ast.Expression(expression), module, "eval")
    try:
        return eval(code, {"__builtins__": {}}, _Names(module))  # the text is this package's own
    except Exception:  # it is made of what would have to be imported
        return Any


@cache
def _named(module: str, name: str) -> Any:
    """A constant or an alias of types, wherever in this package it is from."""
    for node in reversed(_tree(module).body):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            (target,) = node.targets
            if _is(target, name):
                return _evaluated(module, node.value)
            named = [_is(one, name) for one in target.elts] if isinstance(target, ast.Tuple) else []
            if any(named):
                values = _evaluated(module, node.value)
                return values[named.index(True)] if isinstance(values, tuple) else Any
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _imported(node.module, alias.name)
    return getattr(builtins, name, Any)


def _is(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name


def _imported(module: str, name: str) -> Any:
    if module in PLAIN:
        return getattr(import_module(module), name)
    return _named(module, name) if module.partition(".")[0] == PACKAGE else Any
