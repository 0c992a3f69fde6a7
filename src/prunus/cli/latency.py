"""`prunus latency`: how long a forward pass takes, in the runtimes that are here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, bold, show, show_json, show_table
from prunus.cli.verbs import typed_command
from prunus.runs.names import Served
from prunus.runs.texts import parse_shape


def latency(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…",
            help="Models' names, NAME@WEIGHTS, folders made by prune or train, or ONNX files.",
        ),
    ],
    runtime: Annotated[
        list[Served] | None,
        typer.Option(
            "--runtime",
            help="Where to run them (repeatable); default: all that are here, but those that compile.",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option("--batch", "--batch-size", min=1, help="Samples per pass (repeatable); default: 1."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of each runtime on the CPU.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timings of each model, at most.")] = 100,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A JSON file for all of it.")] = None,
    data: given.DataName = "",
    data_dir: given.DataDir = None,
    limit: given.Limit = None,
    workers: given.Workers = 0,
    ignore: given.Ignore = 255,
    window: given.Window = None,
    mean: given.Mean = "",
    std: given.Std = "",
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    as_json: given.AsJson = False,
) -> None:
    """Time models, in turns, in every runtime that is here: medians, quartiles, and whether a difference is
    certain.

    With --data they get real inputs, and networks by name are built for these; without, seeded noise, which
    takes as long in dense networks.

    For example: prunus latency resnet56 out/ --batch 1 --batch 32 -o latency.json
    """
    from prunus.runs.data import Data
    from prunus.runs.settings import Network
    from prunus.runs.timing import LatencySettings
    from prunus.runs.timing import latency as run

    shape = parse_shape(input_shape)
    source = Data(data, data_dir, mean, std, 0.0, limit=limit, workers=workers, ignore=ignore, window=window)
    with bars() as watch:
        result = run(
            [Network(text, input_shape=shape, build=build) for text in models],
            LatencySettings(tuple(runtime or ()), tuple(batch or ()), threads, repeats),
            source if data else None,
            output=output,
            command=typed_command(context),
            watch=watch,
        )
    show_json(result) if as_json else _show(result, output)


def _show(result: Mapping[str, Any], output: Path | None) -> None:
    from prunus.report import words

    rows, before = [], None
    for row in result["latency"]:
        place = row["runtime"], f"{row['batch']}"
        faster = row["speedup"]
        change = (
            ""
            if faster is None
            else words.faster(faster["factor"])
            if faster["certain"]
            else "within the noise"
        )
        quartiles = f"{words.significant(row['q25_ms'])} to {words.milliseconds(row['q75_ms'])}"
        rows.append(
            (
                *(place if place != before else ("", "")),
                row["model"],
                words.milliseconds(row["median_ms"]),
                quartiles,
                change,
            )
        )
        before = place
    show_table("", ("runtime", "batch", "model", "median", "quartiles", "against the first"), rows, left=3)
    threads = result["latency"][0]["threads"]
    show(
        f"\n{threads} thread{'s' if threads > 1 else ''}; at most"
        f" {max(row['repeats'] for row in result['latency'])} samples of each, in turns."
    )
    for note in result["notes"]:
        show(f"Note: {note}")
    if output is not None:
        show("All samples and the environment: ", bold(output))
