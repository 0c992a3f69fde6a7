"""The command line as a whole: its verbs, its global options, and what becomes of errors."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from prunus.cli import streams
from prunus.cli.failures import one_line, unknown, unusable
from prunus.cli.signals import stops
from prunus.cli.verbs import COMMAND, Verb
from prunus.errors import PrunusError

EPILOGUE = (
    "Exit codes: 0 done · 1 an error, told in one sentence · 2 wrong usage · 129, 130, 143 ended by SIGHUP,"
    " Ctrl-C, SIGTERM."
)


class Commands(TyperGroup):
    """All verbs; an error of any of them becomes one sentence and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command to its end, where all output must have been written."""
        streams.prepare()
        try:
            return super().main(*args, **kwargs)
        except (SystemExit, OSError) as stop:
            unwritten = streams.finish() or (stop if isinstance(stop, OSError) else None)
            if unwritten is None or (isinstance(stop, SystemExit) and stop.code):
                raise
            if not isinstance(unwritten, BrokenPipeError):
                streams.say(f"prunus: {streams.unwritable(unwritten)}")
            raise SystemExit(1) from None

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Keep the arguments as they were typed: results say which command made them."""
        typed = list(args)
        try:
            context = super().make_context(info_name, args, parent=parent, **extra)
        except Exception as error:
            _tell_misuse(error, "--json" in typed)
            raise
        context.meta[COMMAND] = typed
        return context

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        typed: list[str] = ctx.meta.get(COMMAND, [])
        debug = bool(ctx.params.get("debug")) or bool(os.environ.get("PRUNUS_DEBUG"))
        try:
            with stops(lambda stop: _fail(stop.text, stop.kind, "--json" in typed)):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail("Interrupted.", "Interrupted", "--json" in typed)
            raise typer.Exit(130) from None
        except PrunusError as error:
            if debug:
                raise
            _fail(str(error), type(error).__name__, "--json" in typed)
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except OSError as error:
            if debug:
                raise
            _fail(unusable(error), type(error).__name__, "--json" in typed)
            raise typer.Exit(1) from None
        except Exception as error:
            _tell_misuse(error, "--json" in typed)
            if debug or _is_misuse(error):
                raise
            _fail(unknown(error), type(error).__name__, "--json" in typed)
            raise typer.Exit(1) from None


def _fail(text: str, kind: str, as_json: bool) -> None:
    """The sentence on stderr, and with --json also as the one object on stdout."""
    text = one_line(text)
    streams.say(f"prunus: {text}")
    if as_json:
        _print_error(text, kind)


def _is_misuse(error: Exception) -> bool:
    """Whether an error is one of the command-line library's own, which it shows by itself; in which module
    these are depends on its version.
    """
    return hasattr(error, "exit_code")


def _tell_misuse(error: Exception, as_json: bool) -> None:
    """With --json, what the command-line library is about to say on stderr, as the one object on stdout."""
    if as_json and _is_misuse(error) and hasattr(error, "format_message"):
        _print_error(one_line(error.format_message()), "UsageError")


def _print_error(text: str, kind: str) -> None:
    with suppress(OSError):
        print(json.dumps({"error": {"type": kind, "message": text}}), flush=True)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOGUE,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        typer.echo(metadata.version("prunus"))
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also: PRUNUS_DEBUG=1).")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Make convolutional networks smaller and faster, and prove it."""


def _register() -> None:
    """Import the verbs; only their bodies import the library's heavy parts."""
    from prunus.cli.cascade import cascade
    from prunus.cli.catalogue import methods, models
    from prunus.cli.compress import compress
    from prunus.cli.demo import demo
    from prunus.cli.doctor import doctor
    from prunus.cli.export import export
    from prunus.cli.latency import latency
    from prunus.cli.look import compare, profile
    from prunus.cli.method_flags import TrainVerb
    from prunus.cli.pack import pack, unpack
    from prunus.cli.prune import prune
    from prunus.cli.push import push
    from prunus.cli.segment import segment
    from prunus.cli.train import train

    for verb in (
        demo,
        prune,
        compress,
        train,
        cascade,
        segment,
        profile,
        compare,
        latency,
        export,
        pack,
        unpack,
        push,
        methods,
        models,
        doctor,
    ):
        app.command(cls=TrainVerb if verb is train else Verb)(verb)


_register()
