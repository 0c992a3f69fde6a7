"""`prunus segment`: the class of every pixel of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show, show_json
from prunus.cli.kinds import check_target
from prunus.cli.opening import open_model, parse_planes, parse_shape

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what is usual for photographs


def segment(
    image: Annotated[Path, typer.Argument(help="A picture; large GeoTIFFs are read by window.")],
    model: Annotated[str, typer.Option("--model", help="unet, ternausnet, pkg.module:factory, NAME@WEIGHTS, or a folder made by prune or train.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The mask; default: beside the picture, NAME-mask and its suffix.")] = None,
    overlay: Annotated[bool, typer.Option("--overlay/--no-overlay", help="Write a picture with the classes in colours, NAME-overlay.png.")] = True,
    tile: Annotated[int, typer.Option(help="Side of the tiles [pixels].")] = 512,
    overlap: Annotated[int, typer.Option(help="Of neighbouring tiles [pixels].")] = 64,
    weights: given.Weights = None,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    mean: given.Mean = "",
    std: given.Std = "",
    as_json: given.AsJson = False,
) -> None:
    """Write the mask of a picture of any size, and an overlay to look at; a GeoTIFF keeps its place on earth.

    For example: prunus segment tile.tif --model out/ -o tile-mask.tif
    """
    from prunus.data.pictures import GEOTIFF
    from prunus.segmentation.files import segment_file
    from prunus.storage.lock import check_file

    check_target(output, "the mask")
    suffix = image.suffix if image.suffix.lower() in GEOTIFF else ".png"
    target = output or image.with_name(f"{image.stem}-mask{suffix}")
    shown = target.with_name(f"{image.stem}-overlay.png") if overlay else None
    for path in (target, *((shown,) if shown else ())):
        check_file(path)
    with bars() as watch:
        watch("building the model", 0, 0)
        opened = open_model(model, weights=weights, shape=parse_shape(input_shape), build_name=build)
        own, planes = opened.normalise or IMAGENET, opened.input_shape[1]
        normalise = parse_planes(mean, planes, "mean") or own[0], parse_planes(std, planes, "std") or own[1]
        counts = segment_file(
            opened.model, image, target, shown, normalise, tile=tile, overlap=overlap, on_step=lambda done, total: watch("segmenting", done, total)
        )  # fmt: skip
    pixels = sum(counts.values())
    if as_json:
        result = {"mask": str(target), "overlay": str(shown) if shown else None, "pixels": counts, "model": opened.record(), "notes": opened.notes()}
        show_json(result)
        return
    for note in opened.notes():
        show(note)
    shares = ", ".join(f"class {value} {count / pixels:.1%}" for value, count in counts.items())
    show(f"{target}: {shares}" + (f"; to look at: {shown}" if shown else ""))
