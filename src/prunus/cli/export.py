"""`prunus export`: a model as an ONNX file, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show, show_json
from prunus.runs.texts import parse_shape


def export(
    model: given.ModelName,
    output: Annotated[Path, typer.Option("-o", "--output", help="The ONNX file.")],
    dynamic_batch: given.DynamicBatch = False,
    takes_pixels: Annotated[
        bool,
        typer.Option(
            "--takes-pixels", help="Put the normalisation into the file: it takes pixels from 0 to 255."
        ),
    ] = False,
    mean: given.FileMean = "",
    std: given.FileStd = "",
    weights: given.Weights = None,
    pretrained: given.Pretrained = False,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    seed: given.Seed = 0,
    as_json: given.AsJson = False,
) -> None:
    """Write a model to an ONNX file, which appears only if ONNX Runtime computes with it what PyTorch
    computes.

    For example: prunus export out/ -o model.onnx --dynamic-batch
    """
    from prunus.report import words
    from prunus.runs.exporting import ExportSettings
    from prunus.runs.exporting import export as run
    from prunus.runs.settings import Network

    with bars() as watch:
        result = run(
            Network(model, weights, pretrained, parse_shape(input_shape), build),
            output,
            ExportSettings(dynamic_batch, takes_pixels, mean, std, seed),
            watch=watch,
        )
    if as_json:
        show_json(result)
        return
    lengths = result["model"]["input_shape"]
    shape = "×".join(map(str, ("N", *lengths[1:]) if dynamic_batch else lengths))
    show(
        f"{result['path']}: {words.size(result['bytes'])}, input {shape}, opset {result['opset']}; "
        f"ONNX Runtime's outputs differ by at most {words.error(result['relative'])} of the largest."
    )
    for note in result["notes"]:
        show(f"Note: {note}")
