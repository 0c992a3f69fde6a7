"""The settings of a method as plain data, read from its own signature and docstring: the one place of their
names, defaults and meanings.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union

from prunus.methods._signature import parameters_of
from prunus.methods.registry import METHODS

Kind = Literal["text", "number", "count", "switch", "texts", "numbers"]
# What a run brings itself, or only Python can give.
RUN = tuple(
    "config tuning trial_config curriculum journal watch evaluate on_trial example_inputs seed".split()
)
_KINDS: dict[Any, Kind] = {str: "text", float: "number", int: "count", bool: "switch"}


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: of the argument.
        kind: what its value is.
        choices: the texts that it may be, if not any.
        default: None where the method finds one itself.
        about: what it means, a clause.
    """

    name: str
    kind: Kind
    choices: tuple[str, ...]
    default: Any
    about: str

    def read(self, value: Any) -> Any:
        """A value of a file or a flag as the method takes it; raises ValueError with what it must be."""
        words = {
            "text": "a text",
            "number": "a number",
            "count": "a whole number",
            "switch": "true or false",
            "texts": "a list of texts",
            "numbers": "a list of numbers",
        }
        if self.kind in ("texts", "numbers") and isinstance(value, (list, tuple)):
            one = Setting(self.name, "text" if self.kind == "texts" else "number", (), None, "")
            return tuple(one.read(item) for item in value)
        if self.kind == "number" and type(value) in (int, float):
            return as_float(value)
        if self.kind == "text" and self.name in ("round_to", "latency") and str(value).isdecimal():
            return int(value)
        if type(value) is not {"text": str, "count": int, "switch": bool}.get(self.kind):
            raise ValueError(words[self.kind])
        if self.choices and value not in self.choices:
            raise ValueError(f"one of {', '.join(self.choices)}")
        return value


def as_float(value: float) -> float:
    """A number of a file, which may be whole, as a float; raises ValueError with what it must be where it is
    too large for one.
    """
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number below 1e308") from None


@cache
def settings_of(method: str) -> dict[str, Setting]:
    """The settings of a method, by name."""
    file, _, function = METHODS[method].home.partition(":")
    parameters, docstring = parameters_of(f"prunus.methods.{file}", function)
    about, found = _meanings(docstring), {}
    for one in parameters[2:]:
        kind, choices = _kind(one.hint)
        if one.name not in RUN and kind is not None:
            found[one.name] = Setting(one.name, kind, choices, one.default, about[one.name])
    return found


def run_options_of(method: str) -> tuple[str, ...]:
    """Which of the arguments that a run brings itself a method takes."""
    return tuple(name for name in inspect.signature(METHODS[method].function).parameters if name in RUN)


def owners(setting: str) -> list[str]:
    """The methods that have a setting of this name."""
    return [method for method in METHODS if setting in settings_of(method)]


def _kind(hint: Any) -> tuple[Kind | None, tuple[str, ...]]:
    """What the values of an annotation are in a file; None for what has no form there. A union has the first
    of its parts that does.
    """
    if hint in _KINDS:
        return _KINDS[hint], ()
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "text", tuple(map(str, parts))
    if origin is tuple:
        return ("texts" if parts[0] is str else "numbers"), ()
    if origin in (Union, types.UnionType):
        found = [_kind(part) for part in parts if part is not type(None)]
        if any(kind == "text" for kind, _ in found) and len(found) > 1:
            return "text", ()
        return next(((kind, choices) for kind, choices in found if kind is not None), (None, ()))
    return None, ()


def _meanings(docstring: str) -> Mapping[str, str]:
    """What a docstring says of every argument, in one line each."""
    lines = docstring.partition("\nArgs:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", lines, flags=re.MULTILINE)
    return {name: " ".join(text.split()).rstrip(".") for name, text in entries}
