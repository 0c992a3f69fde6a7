"""`prunus demo`: the whole story on embedded data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show_json
from prunus.cli.summary import show_result
from prunus.cli.verbs import typed_command


def demo(
    context: typer.Context,
    output: given.Folder = Path("runs/demo"),
    tolerance: Annotated[float, typer.Option(help="Points of accuracy that may go.")] = 2.0,
    seed: given.Seed = 0,
    as_json: given.AsJson = False,
) -> None:
    """Train LeNet-5 on embedded handwritten digits, prune it to a tolerance, and report. No download."""
    from prunus.runs.demonstration import demo as run

    with bars() as watch:
        result = run(output, tolerance=tolerance, seed=seed, command=typed_command(context), watch=watch)
    show_json(result) if as_json else show_result(result, output)
