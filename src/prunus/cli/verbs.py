"""What all verbs of the command line have in common."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from prunus.cli.failures import out_of_memory
from prunus.errors import ConfigError
from prunus.runs.limits import check_settings, check_spelling

COMMAND = "prunus.command"  # where the context keeps what the user typed
WHOLE = "prunus.whole-help"  # where it keeps that all options are to be shown


class Rest(str):
    """The panel of an option that most people do without: `--help` leaves it out, `--help-all` shows it."""

    __slots__ = ()


def typed_command(context: typer.Context) -> str:
    """What the user typed, ready to be typed again."""
    return shlex.join(["prunus", *context.meta.get(COMMAND, [])])


class Verb(TyperCommand):
    """A verb; its numbers are looked at before it does anything."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        # a list of verbs has lines of its own
        self.short_help = " ".join((self.help or "").partition("\n\n")[0].split())

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Look at what was typed, and parse it."""
        _check_values(args, self.params)
        check_spelling(args, {flag: param.name for param in self.params for flag in param.opts if param.name})
        return super().make_context(info_name, args, parent=parent, **extra)

    def get_params(self, ctx: Any) -> Any:
        """Its own, and the flag that shows those which the first help leaves out."""
        *own, last = super().get_params(ctx)  # the last is --help
        return [*own, _help_all(len(_rest(own))), last]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The options that most people need, or all of them."""
        rest = [] if ctx.meta.get(WHOLE) else _rest(self.get_params(ctx))
        with _hidden(rest):
            super().format_help(ctx, formatter)
        if rest:
            typer.echo(f" These are the options that most people need; --help-all shows {len(rest)} more.")

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        check_settings(
            ctx.params, {param.name: max(param.opts, key=len) for param in self.params if param.name}
        )
        try:
            return super().invoke(ctx)
        except (MemoryError, RuntimeError) as error:
            if (text := out_of_memory(error, ctx.params.get("input_shape") or "")) is None:
                raise
            raise ConfigError(text) from error


def _check_values(typed: Sequence[str], params: Sequence[Any]) -> None:
    """Raises ConfigError for the first option with an empty value, such as a variable of the shell that is
    not set: it would stand for the current folder, or for an option that was left out.
    """
    flags = {flag for param in params if not getattr(param, "is_flag", False) for flag in param.opts}
    for before, text in zip(["", *typed], typed):
        flag, equals, value = text.partition("=") if text.startswith("--") else (before, "=", text)
        if equals and not value and flag in flags:
            raise ConfigError(f"{flag} is given an empty value: give another, or leave {flag} out.")


def _rest(params: Sequence[Any]) -> list[Any]:
    return [param for param in params if isinstance(getattr(param, "rich_help_panel", None), Rest)]


@contextmanager
def _hidden(params: Sequence[Any]) -> Iterator[None]:
    """Leave parameters out of what is shown."""
    for param in params:
        param.hidden = True
    try:
        yield
    finally:
        for param in params:
            param.hidden = False


def _show_all(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        context.meta[WHOLE] = True
        typer.echo(context.get_help())
        raise typer.Exit


def _help_all(count: int) -> Any:
    """The flag that shows all options, `count` of which the first help leaves out."""

    def shown(help_all: bool = False) -> None: ...

    flag = typer.Option(
        "--help-all",
        is_eager=True,
        expose_value=False,
        hidden=not count,
        callback=_show_all,
        help=f"Show all options, {count} more, and exit.",
    )
    shown.__annotations__["help_all"] = Annotated[bool, flag]
    app = typer.Typer(add_completion=False)
    app.command()(shown)
    return typer.main.get_command(app).params[0]
