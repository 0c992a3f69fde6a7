"""The flags of `prunus train --method NAME`: those of every training, and the settings of the method that was
named.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunus.cli.verbs import Verb
from prunus.errors import ConfigError, PrunusError
from prunus.methods.registry import METHODS

if TYPE_CHECKING:
    from prunus.methods.settings import Setting

SETTINGS = "prunus.settings"  # where the context keeps the settings that were given as flags


class TrainVerb(Verb):
    """`prunus train`, whose flags depend on the method."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Take the flags of the method as well; their values go into the context."""
        self._settings = _options(method_of(args))
        _refuse_foreign(
            args,
            {
                flag
                for param in [*self.params, *self._settings]
                for flag in (*param.opts, *param.secondary_opts)
            },
        )
        context = super().make_context(info_name, args, parent=parent, **extra)
        given = {param.name: context.params.pop(param.name, None) for param in self._settings}
        context.meta[SETTINGS] = {name: value for name, value in given.items() if value not in (None, (), [])}
        return context

    def get_params(self, ctx: Any) -> Any:
        """All of them."""
        *own, last = super().get_params(ctx)  # the last is --help
        return [*own, *getattr(self, "_settings", []), last]


def method_of(args: Sequence[str]) -> str:
    """The method that is meant, by a flag, a recipe, or the folder of a training that is resumed; "" where
    that cannot be told yet.
    """
    flags = {
        flag: _value(args, *names)
        for flag, names in {
            "method": ("--method",),
            "recipe": ("--recipe",),
            "output": ("-o", "--output"),
        }.items()
    }
    if flags["method"]:
        return flags["method"] if flags["method"] in METHODS else ""
    file = (
        Path(flags["recipe"])
        if flags["recipe"]
        else Path(flags["output"] or "runs/train") / "recipe.toml"
        if "--resume" in args
        else None
    )
    if file is None:
        return ""
    from prunus.runs.recipe import read

    try:
        found = read(file).get("method", "")
    except PrunusError:  # said where the recipe is read for good
        return ""
    return found if isinstance(found, str) and found in METHODS else ""


def _value(args: Sequence[str], *names: str) -> str:
    """What the last of these flags is given."""
    found = ""
    for before, text in zip(["", *args], args):
        flag, equals, value = text.partition("=")
        if before in names:
            found = text
        elif equals and flag in names:
            found = value
    return found


def _options(method: str) -> list[Any]:
    """The options of a method's settings."""
    if not method:
        return []
    from prunus.methods.settings import settings_of

    def settings() -> None: ...

    parameters = [
        inspect.Parameter(
            setting.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_annotation(setting, method),
        )
        for setting in settings_of(method).values()
    ]
    settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    settings.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(settings)
    return list(typer.main.get_command(app).params)


def _annotation(setting: Setting, method: str) -> Any:
    flag = setting.name.replace("_", "-")
    names = f"--{flag}/--no-{flag}" if setting.kind == "switch" else f"--{flag}"
    default = "" if setting.default in (None, (), "") else f" (default: {_shown(setting.default)})"
    repeatable = " (repeatable)" if setting.kind in ("texts", "numbers") else ""
    about = f"{setting.about[:1].upper()}{setting.about[1:]}{repeatable}{default}."
    kinds: dict[str, Any] = {
        "text": str | None,
        "number": float | None,
        "count": int | None,
        "switch": bool | None,
        "texts": list[str] | None,
        "numbers": list[float] | None,
    }
    return Annotated[
        kinds[setting.kind], typer.Option(names, help=about, rich_help_panel=f"Settings of --method {method}")
    ]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _refuse_foreign(args: Sequence[str], known: set[str]) -> None:
    """Raises ConfigError for the first flag that belongs to another method than the one that is meant."""
    for text in args:
        flag = text.partition("=")[0]
        if not flag.startswith("--") or flag in known or flag in ("--", "--help"):
            continue
        from prunus.methods.settings import owners

        methods = owners(flag.removeprefix("--").removeprefix("no-").replace("-", "_"))
        if methods:
            raise ConfigError(
                f"{flag} is a setting of --method {', '.join(methods)}: give the method that is meant."
            )
