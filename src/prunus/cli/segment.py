"""`prunus segment`: the class of every pixel of a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prunus.cli import options as given
from prunus.cli.console import bars, show, show_json
from prunus.errors import ConfigError
from prunus.runs.data import Source, Wanted, read_data
from prunus.runs.kinds import check_target
from prunus.runs.loading import Opened, open_model, parse_planes, parse_shape

if TYPE_CHECKING:
    from torch import Tensor

    from prunus.cli.console import Bars

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what is usual for photographs


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
                "The mask; default: beside the picture, NAME-mask and its suffix. With --data: a folder for"
                " masks."
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
    data: given.DataName = "",
    data_dir: given.DataDir = None,
    limit: given.Limit = None,
    batch_size: given.BatchSize = None,
    workers: given.Workers = 0,
    ignore: given.Ignore = 255,
    weights: given.Weights = None,
    input_shape: given.InputShape = "",
    build: given.BuildName = "",
    mean: given.Mean = "",
    std: given.Std = "",
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
    if image is None:
        wanted = Wanted(
            data,
            data_dir,
            mean,
            std,
            0.0,
            limit=limit,
            batch_size=batch_size,
            workers=workers,
            ignore=ignore,
            window=tile,
        )
        _segment_set(wanted, model, weights, parse_shape(input_shape), build, output, tile, overlap, as_json)
        return
    _segment_one(
        image, model, output, overlay, tile, overlap, weights, input_shape, build, mean, std, as_json
    )


def _segment_one(
    image: Path,
    model: str,
    output: Path | None,
    overlay: bool,
    tile: int,
    overlap: int,
    weights: Path | None,
    input_shape: str,
    build: str,
    mean: str,
    std: str,
    as_json: bool,
) -> None:
    """The mask of one picture."""
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
            opened.model,
            image,
            target,
            shown,
            normalise,
            tile=tile,
            overlap=overlap,
            on_step=lambda done, total: watch("segmenting", done, total),
        )
    pixels = sum(counts.values())
    if as_json:
        result = {
            "mask": str(target),
            "overlay": str(shown) if shown else None,
            "pixels": counts,
            "model": opened.record(),
            "notes": opened.notes(),
        }
        show_json(result)
        return
    for note in opened.notes():
        show(note)
    shares = ", ".join(f"class {value} {count / pixels:.1%}" for value, count in counts.items())
    show(f"{target}: {shares}" + (f"; to look at: {shown}" if shown else ""))


def _segment_set(
    wanted: Wanted,
    model: str,
    weights: Path | None,
    shape: tuple[int, ...] | None,
    build: str,
    folder: Path | None,
    tile: int,
    overlap: int,
    as_json: bool,
) -> None:
    """The masks of all test pictures, where a folder is given for them, and how good they are."""
    from prunus.segmentation import Confusion

    if folder is not None and folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: with --data, -o names a folder for masks.")
    with bars() as watch:
        source = read_data(wanted, None, watch)
        _check_pixels(source)
        watch("building the model", 0, 0)
        opened = source.open(model, shape=shape, weights=weights, build_name=build)
        every: Confusion | None = None
        for number, (name, logits, truth) in enumerate(_predicted(source, opened, tile, overlap, watch)):
            counts, found = _counted(logits, truth)
            every = counts if every is None else Confusion.of(every.counts + counts.counts)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                _write_mask(folder / f"{name or f'{number:05d}'}-mask.png", found, len(logits) == 1)
    if every is None:
        raise ConfigError(f"{wanted.name} has no test pictures.")
    per_class = {
        str(label): None if value != value else value for label, value in enumerate(every.iou().tolist())
    }
    result = {
        "model": opened.record(),
        "masks": str(folder) if folder else None,
        **every.figures(),
        "classes": per_class,
        "notes": opened.notes(),
    }
    show_json(result) if as_json else _show_set(result)


def _check_pixels(source: Source) -> None:
    """Raises ConfigError for data without masks."""
    from prunus.tasks import MeanIoU

    task = source.task()
    if source.pictures is None and not isinstance(task.metric, MeanIoU):
        raise ConfigError(
            f"{source.wanted.name} is measured by {task.metric_name}: what is segmented has masks, and is"
            " measured by mean IoU."
        )


def _predicted(
    source: Source, opened: Opened, tile: int, overlap: int, watch: Bars
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, logits (classes, H, W) and mask (H, W) of every test picture; what counts for nothing is
    `IGNORED`.
    """
    import torch

    from prunus.data.pictures import IGNORED
    from prunus.segmentation.predict import predict, reader
    from prunus.tasks import MeanIoU
    from prunus.training.evaluation import mode

    if source.pictures is not None:
        for number, example in enumerate(source.pictures.test):
            watch("segmenting", number, len(source.pictures.test))
            _, height, width = example.picture.shape
            whole = reader(example.picture, source.pictures.normalise, example.name)(0, 0, height, width)
            assert example.mask is not None
            yield (
                example.name,
                predict(opened.model, whole, tile=tile, overlap=overlap),
                example.mask.read(0, 0, height, width)[0],
            )
        return
    task = source.task()
    assert isinstance(task.metric, MeanIoU)
    with mode(opened.model, training=False), torch.no_grad():
        for inputs, targets in task.batches("test", model=opened.model):
            outputs = task.called(opened.model, inputs)
            task.metric.entries(outputs, targets)  # says in a sentence what outputs it is not of
            logits = outputs["out"] if isinstance(outputs, dict) else outputs
            for one, mask in zip(logits, targets):
                yield "", one, torch.where(mask == task.metric.ignore, IGNORED, mask)


def _counted(logits: Tensor, truth: Tensor) -> tuple[Any, Tensor]:
    """Pixels by true and found class, and the found classes."""
    from prunus.segmentation import Confusion
    from prunus.segmentation.metrics import classes_of

    found = classes_of(logits[None])[0]
    counts = Confusion(max(len(logits), 2))
    counts.add(found, truth)
    return counts, found


def _write_mask(file: Path, found: Tensor, binary: bool) -> None:
    """A mask of class indices; 255 for the foreground of a binary one."""
    import io

    import torch

    from prunus._foundation.atomic import write_atomically
    from prunus.data.decode import need_pillow

    pixels = found.to(torch.uint8) * (255 if binary else 1)
    content = io.BytesIO()
    need_pillow().Image.fromarray(
        (pixels if pixels.dim() == 2 else pixels.flatten()[None]).cpu().numpy()
    ).save(content, "PNG")
    write_atomically(file, content.getvalue())


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
