"""What all verbs of the command line have in common."""

from __future__ import annotations

import shlex
from typing import Any

import typer
from typer.core import TyperCommand

from prunus.cli.failures import out_of_memory
from prunus.errors import ConfigError
from prunus.runs.limits import check_percentages, check_settings

COMMAND = "prunus.command"  # where the context keeps what the user typed


def typed_command(context: typer.Context) -> str:
    """What the user typed, ready to be typed again."""
    return shlex.join(["prunus", *context.meta.get(COMMAND, [])])


class Verb(TyperCommand):
    """A verb; its numbers are looked at before it does anything."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Look at what was typed, and parse it."""
        check_percentages(
            args, {flag: param.name for param in self.params for flag in param.opts if param.name}
        )
        return super().make_context(info_name, args, parent=parent, **extra)

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
