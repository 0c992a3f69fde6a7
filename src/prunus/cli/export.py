"""`prunus export`: a model as an ONNX file, checked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show, show_json
from prunus.runs.kinds import check_target
from prunus.runs.loading import open_model, parse_planes, parse_shape


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
    mean: given.Mean = "",
    std: given.Std = "",
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
    from prunus.deploy import onnx
    from prunus.deploy.sheet import DataSheet
    from prunus.report import words

    check_target(output, "the ONNX file")
    onnx.require()
    with bars() as watch:
        watch("building the model", 0, 0)
        opened = open_model(
            model, weights=weights, shape=parse_shape(input_shape), pretrained=pretrained, build_name=build
        )
        watch("exporting to ONNX", 0, 0)
        means, stds = opened.normalise or ((), ())
        sheet = DataSheet(
            opened.classes,
            parse_planes(mean, opened.input_shape[1], "mean") or tuple(means),
            parse_planes(std, opened.input_shape[1], "std") or tuple(stds),
        )
        check = onnx.export(
            opened.model, opened.inputs(seed), output, dynamic_batch, sheet=sheet, takes_pixels=takes_pixels
        )
    size = check.path.stat().st_size
    if as_json:
        show_json(
            {
                "model": opened.record(),
                "notes": list(opened.notes()),
                **asdict(check),
                "path": str(check.path),
                "bytes": size,
            }
        )
        return
    shape = "×".join(map(str, ("N", *opened.input_shape[1:]) if dynamic_batch else opened.input_shape))
    show(
        f"{check.path}: {words.size(size)}, input {shape}, opset {check.opset}; "
        f"ONNX Runtime's outputs differ by at most {words.error(check.relative)} of the largest."
    )
    for note in opened.notes():
        show(f"Note: {note}")
