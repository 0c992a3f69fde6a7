"""`prunus pack` and `prunus unpack`: a network as a coded file, and such a file as what others open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, bold, show, show_json, show_table
from prunus.cli.verbs import Rest, typed_command
from prunus.runs.texts import parse_shape

TRAINED = "Training with the bytes in the loss"


def pack(
    context: typer.Context,
    model: given.ModelName,
    output: Annotated[Path, typer.Option("-o", "--output", help="The coded file, such as model.prunus.")],
    data: given.DataName,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            help="Points of the metric on held-out samples that may be lost.",
            rich_help_panel=given.PACKED,
        ),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            "--bytes",
            metavar="200kB|0.1",
            help="Size of the file, at most; a number below 1 is a share of the original's.",
            rich_help_panel=given.PACKED,
        ),
    ] = "",
    bits: Annotated[
        int | None, typer.Option("--bits", help="Bits of every weight.", rich_help_panel=given.PACKED)
    ] = None,
    error: Annotated[
        float | None,
        typer.Option(
            "--error",
            help="Error of the outputs of every layer, as a share of their variance.",
            rich_help_panel=given.PACKED,
        ),
    ] = None,
    confidence: given.PackedConfidence = 0.95,
    epochs: Annotated[
        int,
        typer.Option(
            "--epochs",
            min=0,
            help="Train the grids for so many epochs, with the bytes of the file in the loss.",
            rich_help_panel=TRAINED,
        ),
    ] = 0,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", help="What a thousand bytes add to the loss, such as 0.02.", rich_help_panel=TRAINED
        ),
    ] = None,
    lr: Annotated[
        float,
        typer.Option("--lr", help="Learning rate of the training of the grids.", rich_help_panel=TRAINED),
    ] = 1e-3,
    teach: Annotated[
        bool,
        typer.Option(
            "--teach",
            help="Let the original network teach the coded one while the grids are trained.",
            rich_help_panel=TRAINED,
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="A page with what each stage and layer takes.")
    ] = None,
    bare: Annotated[
        bool,
        typer.Option("--bare", help="Leave out of the file its ONNX graph and what it tells people."),
    ] = False,
    samples: Annotated[
        int,
        typer.Option("--samples", min=1, help="Calibration inputs.", rich_help_panel=Rest(given.DATA)),
    ] = 1024,
    data_dir: given.DataDir = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    workers: given.Workers = 0,
    ignore: given.Ignore = 255,
    window: given.Window = None,
    mean: given.Mean = "",
    std: given.Std = "",
    weights: given.Weights = None,
    pretrained: given.Pretrained = False,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    seed: given.Seed = 0,
    as_json: given.AsJson = False,
) -> None:
    """Put a trained network into a file of a tenth of its size or less: weights become integers on grids
    whose errors are made up for, and a coder that learns as it goes writes them down.

    For example: prunus pack resnet20 --weights resnet20.th --data cifar10 --tolerance 0.5 -o model.prunus
    """
    from prunus._foundation.sizes import parse_bytes
    from prunus.runs.data import Data
    from prunus.runs.packing import PackSettings
    from prunus.runs.packing import pack as run
    from prunus.runs.settings import Network

    with bars() as watch:
        result = run(
            Network(model, weights, pretrained, parse_shape(input_shape), build),
            Data(
                data, data_dir, mean, std, seed=seed, limit=limit, batch_size=batch_size, workers=workers,
                ignore=ignore, window=window,
            ),
            output,
            PackSettings(
                tolerance, parse_bytes(size), bits, error, epochs, rate, lr, teach, confidence=confidence,
                samples=samples, bare=bare, seed=seed,
            ),
            report=report,
            command=typed_command(context),
            watch=watch,
        )  # fmt: skip
    show_json(result) if as_json else _show(result, report)


def unpack(
    file: Annotated[Path, typer.Argument(help="A coded file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="model.safetensors, or model.onnx for every runtime.")
    ],
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Keep the weights of the ONNX file in 8 bits where they fit; outputs stay the same.",
        ),
    ] = False,
    build: given.BuildName = "",
    as_json: given.AsJson = False,
) -> None:
    """Write what a coded file holds as safetensors or ONNX, with exactly its values.

    For example: prunus unpack model.prunus -o model.onnx
    """
    from prunus.report import words
    from prunus.runs.packing import unpack as run

    with bars() as watch:
        result = run(file, output, int8=int8, build=build, watch=watch)
    if as_json:
        show_json(result)
        return
    kept = f", {result['integers']} tensors in 8 bits" if result["integers"] else ""
    show(f"{result['path']}: {words.size(result['bytes'])} from {words.size(result['coded_bytes'])}{kept}.")


def _show(result: Mapping[str, Any], report: Path | None) -> None:
    from prunus.report import words
    from prunus.report.metric import metric_words

    rows = [
        (layer["name"], f"{layer['elements']:,}", words.size(layer["bytes"]), f"{layer['bits']:.2f}")
        for layer in result["layers"][:10]
    ]
    show_table("The largest tensors", ("tensor", "weights", "size", "bits each"), rows, left=1)
    stages = " → ".join(f"{stage} {words.size(size)}" for stage, size in result["stages"].items())
    show(f"\n{stages}")
    change = ""
    if result["after"] is not None:
        metric = metric_words(result["metric"])
        before, after = (metric.figure(result[key], decimals=2) for key in ("before", "after"))
        change = f"; {metric.name} on the test set {before} → {after}"
    smaller = words.times(result["original_bytes"], result["bytes"])
    show(bold(result["path"]), f": {words.size(result['bytes'])}, {smaller} smaller{change}.")
    if report is not None:
        show("The report: ", bold(report))
    for note in result["notes"]:
        show(f"Note: {note}")
