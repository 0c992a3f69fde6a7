"""Whole segmentations: the class of every pixel of a picture, or of the test pictures of a set."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from prunus._foundation.arguments import check_fields, door
from prunus._foundation.atomic import write_atomically
from prunus._foundation.finite import NO_CLASS
from prunus._foundation.progress import Watch, unwatched
from prunus.data.decode import need_pillow
from prunus.data.pictures import GEOTIFF, IGNORED
from prunus.errors import ConfigError
from prunus.runs.among import check_apart
from prunus.runs.data import Data, Source, data_of, open_network, read_data
from prunus.runs.fitting import fitted
from prunus.runs.kinds import check_target
from prunus.runs.settings import Network, files_of, network_of
from prunus.runs.texts import parse_planes
from prunus.segmentation import Confusion
from prunus.segmentation.files import MASK_SUFFIXES, lost_place, mask_rows, segment_file, without_class
from prunus.segmentation.metrics import classes_of, maps_of, together
from prunus.segmentation.predict import predict, reader
from prunus.tasks import MeanIoU
from prunus.training.evaluation import mode

if TYPE_CHECKING:
    from prunus.runs.loading import Opened
    from prunus.training import Normalise

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what is usual for photographs


@dataclass(frozen=True)
class Tiles:
    """How a picture is cut for a network: the side of the tiles, and what neighbours share [pixels]."""

    side: int = 512
    overlap: int = 64

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)


TILES = Tiles()


@door(ConfigError)
def segment(
    picture: Path | str,
    model: Network | str,
    output: Path | str | None = None,
    *,
    overlay: bool = True,
    tiles: Tiles = TILES,
    mean: str = "",
    std: str = "",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Write the mask of a picture of any size; a GeoTIFF keeps its place on earth, and is read by window.

    Args:
        picture: its file.
        model: the network that segments.
        output: the mask; None = beside the picture, NAME-mask.png, or with the suffix of a TIFF.
        overlay: write a picture with the classes in colours beside the mask, NAME-overlay.png.
        tiles: how the picture is cut.
        mean, std: of the planes, as text, "0.485,0.456,0.406"; "" = what the folder of the network says, or
            what is usual for photographs.
        watch: told about progress.

    Returns:
        The files, and the pixels of every class.

    Raises:
        ConfigError, FileFormatError, DataError, PrunusError: the picture or the network is not there, or they
            do not fit; a file cannot be written.
    """
    image, network = Path(picture), network_of(model)
    suffix = image.suffix if image.suffix.lower() in GEOTIFF else ".png"
    target = image.with_name(f"{image.stem}-mask{suffix}") if output is None else Path(output)
    shown = target.with_name(f"{image.stem}-overlay.png") if overlay else None
    for path in (target, *((shown,) if shown else ())):
        check_target(path, "the mask", image, *files_of(network), endings=MASK_SUFFIXES)
    if shown is not None and shown.name == target.name:
        raise ConfigError(f"{target} is what the overlay is called: -o names the mask, another file.")
    watch("building the model", 0, 0)
    opened = open_network(network)
    lost = lost_place(image, target)
    normalise = _normalise(opened, mean, std)
    counts = segment_file(
        opened.model,
        image,
        target,
        shown,
        normalise,
        tile=tiles.side,
        overlap=tiles.overlap,
        on_step=lambda done, total: watch("segmenting", done, total),
    )
    return {
        "mask": str(target),
        "overlay": str(shown) if shown else None,
        "pixels": counts,
        "model": opened.record(),
        "notes": [*opened.notes(), *([lost] if lost else [])],
    }


def _normalise(opened: Opened, mean: str, std: str) -> Normalise:
    """What was typed, what the network's folder says, or what is usual for photographs. Raises ConfigError
    for a network of other planes, of which nobody says it.
    """
    planes = opened.input_shape[1]
    typed = parse_planes(mean, planes, "mean"), parse_planes(std, planes, "std")
    own = opened.normalise or (IMAGENET if planes == len(IMAGENET[0]) else ((), ()))
    found = typed[0] or own[0], typed[1] or own[1]
    if not all(found):
        raise ConfigError(
            f"{opened.name} takes {planes} plane{'s' if planes > 1 else ''}, and nobody says which mean and"
            " deviation it expects: give --mean and --std."
        )
    return found


@door(ConfigError)
def segment_set(
    data: Data | str,
    model: Network | str,
    folder: Path | str | None = None,
    *,
    tiles: Tiles = TILES,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Segment the test pictures of a set, and compare them with their masks.

    Args:
        data: pictures with masks, or a task that is measured by mean IoU.
        model: the network that segments.
        folder: for masks; None = none are written.
        tiles: how pictures are cut.
        watch: told about progress.

    Returns:
        The metrics, and the IoU of every class [percent].

    Raises:
        ConfigError, DataError, PrunusError: the data or the network are not there, or do not fit.
    """
    named, folder = data_of(data, 0), None if folder is None else Path(folder)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: with --data, -o names a folder for masks.")
    if named is None:
        raise ConfigError("The name of the data is empty.")
    if folder is not None:
        check_apart(folder, named)
    source = read_data(replace(named, share=0.0, window=tiles.side), None, watch)
    _check_pixels(source)
    watch("building the model", 0, 0)
    opened = open_network(network_of(model), source)
    source, said = fitted(source, opened)
    every, ignore, lost, pixels = None, getattr(source.task().metric, "ignore", IGNORED), 0, 0
    for number, (name, logits, truth) in enumerate(_predicted(source, opened, tiles, watch)):
        counts, found = _counted(logits, truth, ignore)
        every = counts if every is None else together([every, counts])
        lost, pixels = lost + int((found == NO_CLASS).sum()), pixels + found.numel()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            _write_mask(folder / f"{name or f'{number:05d}'}-mask.png", found, len(logits))
    if every is None:
        raise ConfigError(f"{source.data.name} has no test pictures.")
    per_class = {
        str(label): None if value != value else value for label, value in enumerate(every.iou().tolist())
    }
    return {
        "model": opened.record(),
        "masks": str(folder) if folder else None,
        **every.figures(),
        "classes": per_class,
        "notes": [
            *opened.notes(),
            *said,
            *([without_class(lost, pixels, source.data.name)] if lost else []),
        ],
    }


def _check_pixels(source: Source) -> None:
    """Raises ConfigError for data without masks."""
    task = source.task()
    if source.pictures is None and not isinstance(task.metric, MeanIoU):
        raise ConfigError(
            f"{source.data.name} is measured by {task.metric_name}: what is segmented has masks, and is"
            " measured by mean IoU."
        )


def _predicted(
    source: Source, opened: Opened, tiles: Tiles, watch: Watch
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, logits (classes, H, W) and mask (H, W) of every test picture; what counts for nothing is
    `IGNORED`.
    """
    if source.pictures is not None:
        for number, example in enumerate(source.pictures.test):
            watch("segmenting", number, len(source.pictures.test))
            _, height, width = example.picture.shape
            whole = reader(example.picture, source.pictures.normalise, example.name)(0, 0, height, width)
            assert example.mask is not None
            yield (
                example.name,
                predict(opened.model, whole, tile=tiles.side, overlap=tiles.overlap),
                example.mask.read(0, 0, height, width)[0],
            )
        return
    task = source.task()
    assert isinstance(task.metric, MeanIoU)
    with mode(opened.model, training=False), torch.no_grad():
        for inputs, targets in task.batches("test", model=opened.model):
            outputs = task.called(opened.model, inputs)
            task.metric.entries(outputs, targets)  # says in a sentence what outputs it is not of
            for one, mask in zip(maps_of(outputs), targets):
                yield "", one, torch.where(mask == task.metric.ignore, IGNORED, mask)


def _counted(logits: Tensor, truth: Tensor, ignore: int) -> tuple[Confusion, Tensor]:
    """Pixels by true and found class, and the found classes."""
    found = classes_of(logits[None])[0]
    counts = Confusion(max(len(logits), 2), ignore)
    counts.add(found, truth)
    return counts, found


def _write_mask(file: Path, found: Tensor, maps: int) -> None:
    """A mask of class indices, of a network of so many maps."""
    pixels = mask_rows(found if found.dim() == 2 else found.flatten()[None], maps)
    content = io.BytesIO()
    need_pillow().Image.fromarray(pixels).save(content, "PNG")
    write_atomically(file, content.getvalue())
