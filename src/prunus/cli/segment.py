"""`prunus segment`: the class of every pixel of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show, show_json
from prunus.runs.texts import parse_shape


def segment(
    image: Annotated[
        Path | None, typer.Argument(help="A picture; large GeoTIFFs are read by window. With --data: none.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="unet, ternausnet, pkg.module:factory, NAME@WEIGHTS, or a folder made by prune or train.",
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help=(
                "The mask, PNG or TIFF; default: beside the picture, NAME-mask.png, or .tif of a TIFF. With"
                " --data: a folder for masks, PNG files without a place on earth."
            ),
        ),
    ] = None,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay/--no-overlay", help="Write a picture with the classes in colours, NAME-overlay.png."
        ),
    ] = True,
    tile: Annotated[int, typer.Option(help="Side of the tiles, in pixels.")] = 512,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbouring tiles share.")] = 64,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="NAME",
            help=(
                "A folder of pictures with masks, or package.module:function, which makes a task of such"
                " pictures."
            ),
            rich_help_panel=given.DATA,
        ),
    ] = "",
    data_dir: given.DataDir = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    workers: given.Workers = 0,
    ignore: given.Ignore = 255,
    weights: given.Weights = None,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    mean: given.PictureMean = "",
    std: given.PictureStd = "",
    as_json: given.AsJson = False,
) -> None:
    """Write the mask of a picture of any size, and an overlay to look at; a GeoTIFF keeps its place on earth.

    With --data the test pictures are segmented instead, and compared with their masks.

    For example: prunus segment tile.tif --model out/ -o tile-mask.tif; prunus segment --data streets/ --model
        out/ -o masks/
    """
    if not model:
        raise typer.BadParameter("Give the network that segments, --model.")
    if (image is None) != bool(data):
        raise typer.BadParameter("Give a picture, or --data with pictures and their masks.")
    from prunus.runs import segmenting
    from prunus.runs.data import Data
    from prunus.runs.settings import Network

    network, tiles = (
        Network(model, weights, input_shape=parse_shape(input_shape), build=build),
        segmenting.Tiles(tile, overlap),
    )
    if image is None:
        source = Data(
            data,
            data_dir,
            mean,
            std,
            limit=limit,
            batch_size=batch_size,
            workers=workers,
            ignore=ignore,
        )
        with bars() as watch:
            result = segmenting.segment_set(source, network, output, tiles=tiles, watch=watch)
        show_json(result) if as_json else _show_set(result)
        return
    with bars() as watch:
        result = segmenting.segment(
            image, network, output, overlay=overlay, tiles=tiles, mean=mean, std=std, watch=watch
        )
    show_json(result) if as_json else _show_one(result)


def _show_one(result: dict[str, Any]) -> None:
    for note in result["notes"]:
        show(note)
    pixels = sum(result["pixels"].values())
    shares = ", ".join(f"class {value} {count / pixels:.1%}" for value, count in result["pixels"].items())
    shown = f"; to look at: {result['overlay']}" if result["overlay"] else ""
    show(f"{result['mask']}: {shares}{shown}")


def _show_set(result: dict[str, Any]) -> None:
    for note in result["notes"]:
        show(note)
    names = [name for name in ("pixel accuracy", "IoU", "Dice") if name in result]
    show(", ".join(f"{name} {result[name]:.2f} %" for name in names) + " on the test pictures")
    show(
        "IoU by class: "
        + ", ".join(
            f"{label} {'–' if value is None else f'{value:.1f} %'}"
            for label, value in result["classes"].items()
        )
    )
    if result["masks"]:
        show(f"Masks: {result['masks']}")
