"""From a picture's file to the files of its mask and of an overlay to look at, without holding a large
picture in memory.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.atomic import write_atomically
from prunus._foundation.finite import NO_CLASS
from prunus._foundation.warned import warn
from prunus.data import limits
from prunus.data.decode import SUFFIXES, need_pillow
from prunus.data.paths import AnyPath, as_path, shown
from prunus.data.pictures import GEOTIFF, Picture, georeferenced, open_picture
from prunus.data.raster import need_rasterio, opened_raster
from prunus.errors import ConfigError, FileFormatError, PrunusError, clause
from prunus.segmentation.metrics import classes_of
from prunus.segmentation.predict import OVERLAP, TILE, reader, strips
from prunus.storage import fileset
from prunus.storage.lock import file_lock
from prunus.training.feeding import Normalise

MASK_SUFFIXES = (".png", *GEOTIFF)
LARGEST_SIDE = 2048  # of an overlay [pixels]
COLOURS = (
    (0, 0, 0),
    (230, 60, 40),
    (40, 120, 230),
    (250, 190, 30),
    (60, 170, 90),
    (150, 80, 200),
    (20, 180, 190),
    (240, 120, 180),
)
_OPACITY = 0.45
_TYPES = (np.uint8, np.uint16)  # that PNG and TIFF hold whole numbers in

Rows = np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]
"""Rows of a mask, as its file holds them."""


def segment_file(
    model: nn.Module,
    source: AnyPath,
    mask_file: AnyPath,
    overlay_file: AnyPath | None,
    normalise: Normalise,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[int, int]:
    """Find the class of every pixel, and write a mask of class indices (255 for the foreground of a binary
    one; in 16 bits where the network has more than 256 classes) and an overlay.

    A mask that ends in .tif has the georeference of a source that has one. The files are written together or
    not at all.

    Returns:
        pixels of every class.

    Raises:
        DataError: no readable picture, or one with other planes than `normalise` has.
        ConfigError: a mask with the name of another kind of picture; a network whose outputs are no logits
            of every pixel, or of more than 65,536 classes; a mask that is too large for another format than
            TIFF; or another process is writing it, or its folder cannot be written to.
        FileFormatError: a file that cannot be written.
        MissingExtraError: a library that reads or writes the format is not installed.
    """
    source, mask_file = as_path(source), as_path(mask_file)
    if mask_file.suffix.lower() in SUFFIXES - {*MASK_SUFFIXES}:
        raise ConfigError(
            f"{shown(mask_file.name)} is the name of another kind of picture: masks are PNG files, or"
            " GeoTIFFs, so let it end in .png or .tif."
        )
    fileset.check(mask_file.parent, [mask_file.name])
    with (
        file_lock(mask_file),
        _staged(mask_file, None if overlay_file is None else as_path(overlay_file)) as (mask, overlay),
    ):
        return _segmented(model, source, mask, overlay, normalise, tile, overlap, on_step)


def lost_place(source: AnyPath, mask_file: AnyPath) -> str | None:
    """A sentence if a picture has a place on earth that the file of its mask cannot keep.

    Raises DataError: the picture cannot be read.
    """
    source, mask_file = as_path(source), as_path(mask_file)
    if mask_file.suffix.lower() in GEOTIFF or not georeferenced(source):
        return None
    return (
        f"{shown(mask_file.name)} does not keep the place on earth that {shown(source.name)} has: let the"
        " name of the mask end in .tif."
    )


@contextmanager
def _staged(mask_file: Path, overlay_file: Path | None) -> Iterator[tuple[Path, Path | None]]:
    """Where to write a mask and its overlay, so that they take their places together; an overlay that lies
    elsewhere takes its own.
    """
    beside = overlay_file is not None and overlay_file.parent == mask_file.parent
    also = [overlay_file.name] if overlay_file is not None and beside else []
    with fileset.staging(
        mask_file.parent, (), last=[mask_file.name], key=mask_file.name, also=also
    ) as folder:
        yield (
            folder / mask_file.name,
            folder / overlay_file.name if overlay_file is not None and beside else overlay_file,
        )


def _segmented(
    model: nn.Module,
    source: Path,
    mask_file: Path,
    overlay_file: Path | None,
    normalise: Normalise,
    tile: int,
    overlap: int,
    on_step: Callable[[int, int], None] | None,
) -> dict[int, int]:
    """Write both files, strip by strip; pixels of every class."""
    picture = open_picture(source)
    read = reader(picture, normalise, shown(source))
    _, height, width = picture.shape
    counts: dict[int, int] = {}
    every = -(-max(height, width) // LARGEST_SIDE)
    looks: list[Tensor] = []
    write: Callable[[int, Rows], None] | None = None
    with ExitStack() as open_file:
        done = 0
        for logits in strips(model, read, height, width, tile=tile, overlap=overlap, on_step=on_step):
            if write is None:  # only the first logits tell how many classes there are
                write = open_file.enter_context(
                    _mask_writer(source, mask_file, height, width, mask_type(len(logits)))
                )
            classes = classes_of(logits[None])[0]
            for value, count in zip(*torch.unique(classes, return_counts=True)):
                counts[int(value)] = counts.get(int(value), 0) + int(count)
            write(done, mask_rows(classes, len(logits)))
            if overlay_file is not None:
                looks.append(_overlay(picture, classes, done, every))
            done += classes.shape[0]
    if lost := counts.pop(NO_CLASS, 0):
        warn(without_class(lost, height * width, shown(source.name)))
    if overlay_file is not None:
        _write_png(as_path(overlay_file), torch.cat(looks).numpy())
    return dict(sorted(counts.items()))


def mask_type(maps: int) -> type[np.unsignedinteger[Any]]:
    """What the pixels of a mask are, by the maps of the network: bytes, or 16 bits for more than 256 classes.

    Raises ConfigError for more classes than 16 bits tell apart.
    """
    for kind in _TYPES:
        if maps <= np.iinfo(kind).max + 1:
            return kind
    raise ConfigError(
        f"The network has {maps:,} classes, and the pixels of a mask tell 65,536 apart at most."
    )


def mask_rows(classes: Tensor, maps: int) -> Rows:
    """Classes (rows, columns) as a file holds them: 255 for the foreground of a binary mask, and 0 for
    `NO_CLASS`.
    """
    classes = torch.where(classes == NO_CLASS, 0, classes)
    return (classes * 255 if maps == 1 else classes).cpu().numpy().astype(mask_type(maps))


def without_class(lost: int, pixels: int, where: str) -> str:
    """What is said of so many pixels in which a network gives NaN."""
    return f"The network gives NaN in {lost:,} of {pixels:,} pixels of {where}; masks have 0 there."


def _overlay(picture: Picture, classes: Tensor, top: int, every: int) -> Tensor:
    """Some rows of the picture with every class but the first in its colour, every so many pixels, (rows,
    columns, 3).
    """
    first = -top % every
    if first >= classes.shape[0]:
        return torch.zeros(0, -(-classes.shape[1] // every), 3, dtype=torch.uint8)
    pixels = picture.read(top, 0, classes.shape[0], classes.shape[1])[:, first::every, ::every].float()
    pixels = (pixels[:3] if len(pixels) > 2 else pixels[:1].expand(3, -1, -1)).permute(1, 2, 0)
    found = classes[first::every, ::every].long()
    # further classes begin again with the first colour, in every strip alike
    places = torch.where(found > 0, 1 + (found - 1) % (len(COLOURS) - 1), 0)
    colours = torch.tensor(COLOURS)[places].float()
    mixed = torch.where((found > 0)[..., None], (1 - _OPACITY) * pixels + _OPACITY * colours, pixels)
    return mixed.round().to(torch.uint8)


@contextmanager
def _mask_writer(
    source: Path, target: Path, height: int, width: int, kind: type[np.unsignedinteger[Any]]
) -> Iterator[Callable[[int, Rows], None]]:
    """Takes rows of the mask from top to bottom; the file is there once all of them are."""
    if target.suffix.lower() in GEOTIFF:
        with _geotiff_writer(source, target, height, width, kind) as write:
            yield write
        return
    if height * width > 4 * limits.PIXELS:
        raise ConfigError(
            f"A mask of {width:,} x {height:,} pixels is written piece by piece into a GeoTIFF: let its name"
            " end in .tif."
        )
    whole = np.zeros((height, width), kind)

    def keep(top: int, rows: Rows) -> None:
        whole[top : top + len(rows)] = rows

    yield keep
    _write_png(target, whole)


@contextmanager
def _geotiff_writer(
    source: Path, target: Path, height: int, width: int, kind: type[np.unsignedinteger[Any]]
) -> Iterator[Callable[[int, Rows], None]]:
    rasterio = need_rasterio()
    from rasterio.windows import Window

    place: dict[str, Any] = {}
    if source.suffix.lower() in GEOTIFF:
        with opened_raster(source) as original:
            if original.crs or not original.transform.is_identity:
                place = {"crs": original.crs, "transform": original.transform}
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": np.dtype(kind).name,
        "compress": "deflate",
        **place,
    }
    with _told(target), warnings.catch_warnings():
        # a picture may lie nowhere, and so may its mask
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        file = rasterio.open(target, "w", **profile)

    def write(top: int, rows: Rows) -> None:
        with _told(target):
            file.write(rows, 1, window=Window(0, top, width, len(rows)))

    with file:
        yield write


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Whatever goes wrong while a raster is written, as an error that names it: GDAL has errors of many
    kinds.
    """
    try:
        yield
    except PrunusError:
        raise
    except Exception as error:
        raise FileFormatError(f"{shown(target.name)} cannot be written ({clause(error)}).") from error


def _write_png(path: Path, pixels: Rows) -> None:
    buffer = io.BytesIO()
    need_pillow().Image.fromarray(pixels).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
