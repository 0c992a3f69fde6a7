"""What every public function does before its own work: its arguments are what their annotations say, or one
sentence says which is not.

`door` is put on a public function, `check_fields` into the `__post_init__` of settings. Numbers may come from
NumPy, or as tensors without axes, and are made plain; text is never taken for a number, nor for a list of
names; True is not 1.
"""

from __future__ import annotations

import builtins
import errno
import inspect
import sys
import typing
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from functools import cache, wraps
from pathlib import PurePath
from typing import Any, TypeVar

from prunus._foundation.kinds import MisfitError, fit
from prunus._foundation.surroundings import undisturbed
from prunus._foundation.wording import MOST_SAID, advice, escaped, given, near, wanted, without_values
from prunus.errors import ArgumentError, PrunusError

_OPEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_UNSEEN = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR)
_F = TypeVar("_F", bound=Callable[..., Any])


def door(kind: type[PrunusError] = ArgumentError) -> Callable[[_F], _F]:
    """Check the arguments of a function against its annotations, and run it whatever torch is set to around
    the call.

    What it raises is an ArgumentError and, if given, an error of the function's own `kind`.
    """

    def decorate(function: _F) -> _F:
        looked_at = checked(kind)(function)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with undisturbed():
                return looked_at(*args, **kwargs)

        return typing.cast(_F, call)

    return decorate


def checked(kind: type[PrunusError] = ArgumentError) -> Callable[[_F], _F]:
    """`door` for what belongs to the caller's own computation, such as a loss, which runs as torch is set."""

    def decorate(function: _F) -> _F:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            bound, hints = _bound(function, args, kwargs), _hints(function)
            for name, value in bound.arguments.items():
                if name in hints and _signature(function).parameters[name].kind not in _OPEN:
                    bound.arguments[name] = checked_as(hints[name], name, value, kind)
            try:
                return function(*bound.args, **bound.kwargs)
            except (NotImplementedError, RuntimeError) as error:
                _refuse_without_values(bound.arguments, kind, error)
                raise
            except OSError as error:
                _refuse_path(bound.arguments, kind, error)
                raise

        return typing.cast(_F, call)

    return decorate


def _refuse_without_values(arguments: dict[str, Any], kind: type[PrunusError], error: Exception) -> None:
    """Raises an error of `kind` where torch failed for want of values: those of a model on meta."""
    for value in arguments.values() if "meta" in str(error) else ():
        if sentence := without_values(getattr(value, "model", value)):
            raise _both(kind)(sentence) from error


def _refuse_path(arguments: dict[str, Any], kind: type[PrunusError], error: OSError) -> None:
    """Raises an error of `kind` where the system refuses to look at a path that was given, or into it: a name
    that is too long, a folder that may not be searched.
    """
    if error.errno not in _UNSEEN or not isinstance(error.filename, str):
        return
    refused = PurePath(error.filename)
    given = [PurePath(value) for value in arguments.values() if isinstance(value, (str, PurePath)) and value]
    if any(refused == path or path in refused.parents for path in given):
        shown = escaped(error.filename, str.isprintable)
        cut = shown if len(shown) <= MOST_SAID else f"{shown[:MOST_SAID]}…"
        raise _both(kind)(f"{cut} cannot be looked at ({error.strerror}).") from error


def at_least(least: float, **numbers: float) -> None:
    """Raises ArgumentError for a number below."""
    for name, number in numbers.items():
        if not number >= least:
            raise ArgumentError(f"{name} must be at least {least:g}, not {number}.")


def shaped(axes: str, **tensors: Any) -> None:
    """Raises ArgumentError for a tensor or array that has not so many axes, named like "batch, classes"."""
    for name, tensor in tensors.items():
        if tensor.ndim != len(axes.split(", ")):
            raise ArgumentError(f"{name} must be of shape ({axes}), not {tuple(tensor.shape)}.")


def one_each(name: str, values: Any, whose: str, count: int) -> None:
    """Raises ArgumentError if there is not one value for each of something."""
    if not values.ndim or len(values) != count:
        raise ArgumentError(
            f"{name} must hold one value for each of the {count} {whose}, not be of shape"
            f" {tuple(values.shape)}."
        )


def check_fields(
    settings: Any, kind: type[PrunusError] = ArgumentError, only: Collection[str] | None = None
) -> None:
    """Check the fields of a dataclass, or only some, against its annotations and make their numbers plain,
    for use in `__post_init__`.
    """
    hints = _hints(type(settings))
    for field in fields(settings):
        if field.name in hints and (only is None or field.name in only):
            value = getattr(settings, field.name)
            plain = checked_as(hints[field.name], field.name, value, kind)
            if plain is not value:
                object.__setattr__(settings, field.name, plain)


def checked_as(hint: Any, name: str, value: Any, kind: type[PrunusError] = ArgumentError) -> Any:
    """A value as an annotation wants it; raises ArgumentError, which is one of `kind` as well."""
    try:
        return fit(hint, value)
    except MisfitError:
        raise _both(kind)(
            f"{name} must be {wanted(hint)}, not {given(value)}{advice(hint, value)}."
        ) from None


_BOTH: dict[type[PrunusError], type[PrunusError]] = {}


def _both(kind: type[PrunusError]) -> type[PrunusError]:
    if issubclass(ArgumentError, kind):
        return ArgumentError
    if kind not in _BOTH:
        _BOTH[kind] = type(kind.__name__, (ArgumentError, kind), {"__module__": kind.__module__})
    return _BOTH[kind]


def as_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """One text is one name."""
    return (names,) if isinstance(names, str) else tuple(names)


# -- from a call to its arguments ----------------------------------------------------------------------------


def _bound(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> inspect.BoundArguments:
    signature = _signature(function)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError:
        name, known = function.__qualname__.removesuffix(".__init__").rpartition(".")[2], signature.parameters
        unknown = [word for word in kwargs if word not in known]
        if unknown:
            raise ArgumentError(f"{name} has no argument {unknown[0]!r}{near(unknown[0], known)}.") from None
        taken = [p.name for p in known.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        missing = [
            p.name
            for p in known.values()
            if p.default is p.empty and p.name not in (*taken[: len(args)], *kwargs)
        ]
        if missing:
            raise ArgumentError(
                f"{name} needs the argument {missing[0]!r}: {name}({', '.join(known)})."
            ) from None
        twice = [word for word in taken[: len(args)] if word in kwargs]
        if twice:
            raise ArgumentError(
                f"{name} is given the argument {twice[0]!r} twice, by place and by name."
            ) from None
        raise ArgumentError(
            f"{name} takes {len(taken)} arguments by place ({', '.join(taken)}), not {len(args)}; give the"
            " others by name."
        ) from None


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def _hints(owner: Any) -> dict[str, Any]:
    """The annotations of a function or dataclass; what is imported for type checkers only is anything."""
    found: dict[str, Any] = {}
    for scope in reversed(getattr(owner, "__mro__", (owner,))):
        for name, hint in getattr(scope, "__annotations__", {}).items():
            found[name] = _resolved(scope.__module__, hint) if isinstance(hint, str) else hint
    return found


class _Names(dict[str, Any]):
    """What names of a module mean."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


@cache
def _resolved(module: str, annotation: str) -> Any:
    try:
        return eval(annotation, {}, _Names(vars(sys.modules[module])))  # the text is this package's own
    except Exception:  # subscripts of what is anything, say
        return Any


__all__ = ["as_names", "at_least", "check_fields", "checked", "checked_as", "door", "one_each", "shaped"]
