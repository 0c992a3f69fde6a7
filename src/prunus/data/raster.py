"""Large TIFFs, read by window: the same planes and values as those of a picture that is read whole."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunus.data import limits
from prunus.data.paths import AnyPath, as_file, shown
from prunus.errors import DataError, MissingExtraError, PrunusError, clause

WIDE_LABELS = {"uint8", "int8", "uint16", "int16", "uint32", "int32"}  # what masks are stored in
HIGHEST, ONES = 255, 65535  # all bits set, of 8 and of 16


class Raster:
    """A file that rasterio reads by window, GeoTIFF above all.

    Of three or more bands the first three are its planes, of fewer the first, as another one is no colour; a
    palette gives the three planes of its colours.

    Args:
        path: the file.
        grey: it is a mask, one plane of class indices; the indices count where it has a palette, and colours
            are refused where they are read.

    Raises:
        MissingExtraError: rasterio is not installed.
        DataError: no readable raster, one of other than 8 bits that is no mask of whole numbers, or one
            beyond the limits; at `read` too, which may find what is damaged, or labels beyond 255, first.
    """

    def __init__(self, path: AnyPath, grey: bool = False) -> None:
        self.path, self._grey = as_file(path, "picture"), grey
        with opened_raster(self.path) as source:
            if set(source.dtypes) != {"uint8"} and not (grey and set(source.dtypes) <= WIDE_LABELS):
                raise DataError(
                    f"{shown(path)} has {'/'.join(sorted(set(source.dtypes)))} pixels: convert it to 8 bits"
                    " first."
                )
            self._bands = (1, 2, 3) if source.count > 2 else (1,)
            self._size = source.height, source.width
            self._check(source.block_shapes[0])
            self._table = _table(source, grey)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(planes, height, width)."""
        planes = 1 if self._grey else len(self._bands) if self._table is None else len(self._table)
        return planes, *self._size

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        """The window, from the file. Raises DataError for a mask of several colours."""
        from rasterio.windows import Window

        with opened_raster(self.path) as source:
            stored = source.read(self._bands, window=Window(left, top, width, height))
        found = torch.from_numpy(as_labels(self.path, stored) if self._grey else stored)
        if self._grey and len(found) > 1 and bool((found != found[:1]).any()):
            raise no_mask(self.path, "RGB")
        if self._table is not None:
            return self._table[:, found[0].long()]
        return found[:1] if self._grey else found

    def _check(self, block: tuple[int, int]) -> None:
        height, width = self._size
        if max(height, width) > limits.RASTER_SIDE or height * width > limits.RASTER_PIXELS:
            raise DataError(
                f"{shown(self.path)} has {width:,} x {height:,} pixels; {limits.RASTER_PIXELS:,} in all and"
                f" {limits.RASTER_SIDE:,} a side are the limit: cut it into several."
            )
        if block[0] * block[1] > limits.BLOCK_PIXELS:
            raise DataError(
                f"{shown(self.path)} is stored in blocks of {block[1]:,} x {block[0]:,} pixels: store it in"
                " tiles of 512 x 512."
            )


def _table(source: Any, grey: bool) -> Tensor | None:
    """What the bytes of the first band stand for, (planes, 256) uint8: the colours of a palette, or the grey
    levels of few bits, or of bits that count from white; None where they are what they stand for.
    """
    if source.count > 2:
        return None
    bits = int(source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8))
    from_white = source.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
    colours = None if from_white else _palette(source)
    if colours is not None and not (bits == 1 and _black_and_white(colours)):
        return None if grey else colours
    if bits >= 8 and not from_white:
        return None
    levels = (torch.arange(256) * (255 // (2 ** min(bits, 8) - 1))).clamp(max=255)
    table: Tensor = (255 - levels if from_white else levels)[None].to(torch.uint8)
    return table


def _palette(source: Any) -> Tensor | None:
    """Its colours, (3, 256) uint8."""
    try:
        colours = source.colormap(1)
    except ValueError:  # it has none
        return None
    table = torch.zeros(3, 256, dtype=torch.uint8)
    for place, colour in colours.items():
        table[:, place] = torch.tensor(colour[:3], dtype=torch.uint8)
    return table


def _black_and_white(colours: Tensor) -> bool:
    """Whether these are the two colours of a single bit, which GDAL gives one without a palette, too."""
    return {tuple(colour.tolist()) for colour in colours[:, :2].T} == {(0, 0, 0), (255, 255, 255)}


def as_labels(path: AnyPath, stored: np.ndarray) -> np.ndarray:
    """Labels as bytes, however wide their file has them; 65,535 is what 255 is in 8 bits: all of them set.

    Raises DataError for a label that is no byte.
    """
    labels = np.where(stored == ONES, HIGHEST, stored)
    for label in (int(labels.min()), int(labels.max())):
        if not 0 <= label <= HIGHEST:
            raise DataError(f"The mask {shown(path)} has the label {label:,}: labels are 0 to {HIGHEST}.")
    return labels.astype(np.uint8)


def no_mask(path: AnyPath, mode: str) -> DataError:
    """What to say of a mask of several colours."""
    return DataError(
        f"The mask {shown(path)} is coloured ({mode}): a mask has one plane of class indices, or a palette."
    )


@contextmanager
def opened_raster(path: Path) -> Iterator[Any]:
    """A TIFF, opened by rasterio. Raises MissingExtraError without rasterio, DataError for whatever goes
    wrong with the file inside the `with`.
    """
    rasterio = need_rasterio()
    try:
        with warnings.catch_warnings():
            # masks often lie nowhere
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            source = rasterio.open(path, driver="GTiff")  # others can be asked to open further files
        with source:
            yield source
    except PrunusError:
        raise
    except Exception as error:  # GDAL has errors of many kinds
        raise DataError(f"{shown(path)} is no readable raster ({clause(error)}).") from error


def need_rasterio() -> Any:
    """rasterio, or one line that says how to get it."""
    try:
        import rasterio
    except ImportError as error:
        raise MissingExtraError(
            "Large GeoTIFFs are read with rasterio, which is the extra 'geo': pip install 'prunus[geo]'."
        ) from error
    return rasterio
