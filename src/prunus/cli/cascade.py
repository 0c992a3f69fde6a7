"""`prunus cascade`: a small network answers what it is sure of, and larger ones the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show, show_json, show_table
from prunus.runs.texts import parse_shape


def cascade(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="SMALL… LARGE",
            help=(
                "Models from the cheapest to the dearest: names, NAME@WEIGHTS, or folders made by prune or"
                " train."
            ),
        ),
    ],
    data: given.DataName = "",
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", help="MACs relative to the last model's, on average.", rich_help_panel=given.TARGET
        ),
    ] = None,
    tolerance: given.Tolerance = None,
    confidence: given.Confidence = 0.95,
    held_out: Annotated[
        float,
        typer.Option(
            "--held-out",
            help="Share of the training samples that thresholds are found on.",
            rich_help_panel=given.DATA,
        ),
    ] = 0.1,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="An ONNX file that decides inside, one input at a time."),
    ] = None,
    dynamic_batch: given.DynamicBatch = False,
    data_dir: given.DataDir = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    workers: given.Workers = 0,
    mean: given.Mean = "",
    std: given.Std = "",
    seed: Annotated[
        int, typer.Option("--seed", help="Which samples are held out.", rich_help_panel=given.DATA)
    ] = 0,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    as_json: given.AsJson = False,
) -> None:
    """Let a small network answer what it is sure of, and larger ones the rest; measure accuracy, MACs and
    latency.

    For example: prunus cascade out/ resnet56@resnet56.th --data cifar10 --budget 0.5 -o cascade.onnx
    """
    from prunus.runs.cascading import CascadeSettings
    from prunus.runs.cascading import cascade as run
    from prunus.runs.data import Data
    from prunus.runs.settings import Network

    shape = parse_shape(input_shape)
    source = Data(
        data,
        data_dir,
        mean,
        std,
        held_out,
        seed,
        limit=limit,
        batch_size=batch_size,
        workers=workers,
    )
    with bars() as watch:
        result = run(
            [Network(text, input_shape=shape, build=build) for text in models],
            source,
            CascadeSettings(budget, tolerance, confidence),
            output=output,
            dynamic_batch=dynamic_batch,
            watch=watch,
        )
    show_json(result) if as_json else _show(models, result)


def _show(names: list[str], result: dict[str, Any]) -> None:
    from prunus.report import words

    test, costs = result["test"], result["stage_macs"]
    rows = [
        (name, words.percent(macs / costs[-1]), f"{alone:.2f} %", words.percent(answered))
        for name, macs, alone, answered in zip(names, costs, test["alone"], test["answered"])
    ]
    rows.append(("cascade", words.percent(test["macs"]), f"{test['accuracy']:.2f} %", ""))
    show_table("", ("", "MACs", "test accuracy", "answers"), rows)
    show("")
    table = [
        (row["runtime"], row["network"], words.milliseconds(row["p50"]), words.milliseconds(row["p95"]))
        for row in result["latency"]
    ]
    show_table("", ("one thread, one input at a time", "", "median", "95 %"), table, left=2)
    show(
        f"\nSure is a margin of {result['threshold']:.3f} between the two highest probabilities, found on"
        f" {result['held_out']['samples']:,} samples."
    )
    if result["onnx"]:
        show(
            f"{result['onnx']['path']}: decides inside, and agrees with PyTorch to"
            f" {words.error(result['onnx']['max_abs'])}."
        )
    for note in result["notes"]:
        show(f"Note: {note}")
