"""Pictures with masks for segmentation: in memory, or read by window from files too large for it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from prunus.data.folder import GREY, SUFFIXES, WIDE, need_pillow
from prunus.errors import DataError, MissingExtraError, clause

IMAGE_FOLDERS = ("images", "image", "imgs")
MASK_FOLDERS = ("masks", "mask", "gt", "labels", "label")  # gt: Inria, label: AIRS
GEOTIFF = (".tif", ".tiff")
IGNORED = 255  # in a mask: nobody knows
WHOLE = 1 << 24  # pixels: files of more are read by window


class Picture(Protocol):
    """Something with planes and pixels that can be read by window."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(planes, height, width)."""

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        """The window, uint8 (planes, height, width)."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A picture in memory, uint8 (planes, height, width)."""

    pixels: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(planes, height, width)."""
        planes, height, width = self.pixels.shape
        return planes, height, width

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        """A view of the window."""
        return self.pixels[:, top : top + height, left : left + width]


class Raster:
    """A file that rasterio reads by window, GeoTIFF above all; only the first three bands of more are read.

    Raises:
        MissingExtraError: rasterio is not installed.
        DataError: no readable raster, or one of other than 8 bits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as source:
            if set(source.dtypes) != {"uint8"}:
                raise DataError(f"{path} has {'/'.join(sorted(set(source.dtypes)))} pixels: convert it to 8 bits first.")
            self._bands = tuple(range(1, min(source.count, 3) + 1))
            self._size = source.height, source.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """(planes, height, width)."""
        return len(self._bands), *self._size

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        """The window, from the file."""
        from rasterio.windows import Window

        with self._open() as source:
            return torch.from_numpy(source.read(self._bands, window=Window(left, top, width, height)))

    def _open(self) -> Any:
        rasterio = need_rasterio()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)  # masks often lie nowhere
                return rasterio.open(self.path)
        except rasterio.errors.RasterioIOError as error:
            raise DataError(f"{self.path} is no readable raster ({clause(error)}).") from error


@dataclass(frozen=True, eq=False)
class Example:
    """A picture and its mask.

    Attributes:
        name: of the file, without its suffix.
        picture: what is seen.
        mask: one plane, class indices, `IGNORED` where nobody knows; None if there is none.
    """

    name: str
    picture: Picture
    mask: Picture | None = None


def need_rasterio() -> Any:
    """rasterio, or one line that says how to get it."""
    try:
        import rasterio
    except ImportError as error:
        raise MissingExtraError("Large GeoTIFFs are read with rasterio, which is the extra 'geo': pip install 'prunus[geo]'.") from error
    return rasterio


def open_picture(path: Path, grey: bool = False) -> Picture:
    """A picture from a file: by window where it is a large TIFF, else in memory.

    Raises:
        MissingExtraError: the library that reads it is not installed.
        DataError: no readable picture.
    """
    pillow = need_pillow()
    if not path.is_file():
        raise DataError(f"There is no picture {path}.")
    before, pillow.Image.MAX_IMAGE_PIXELS = pillow.Image.MAX_IMAGE_PIXELS, None  # its size is looked at, nothing is decoded yet
    try:
        with pillow.Image.open(path) as image:
            if path.suffix.lower() in GEOTIFF and image.width * image.height > WHOLE:
                return Raster(path)
            if image.mode.startswith(WIDE):
                raise DataError(f"{path} has more than 8 bits per pixel ({image.mode}): convert it to 8 bits first.")
            indexed = grey and image.mode == "P"  # a mask's palette has its colours, its pixels the classes
            pixels = np.asarray(image if indexed else image.convert("L" if grey or image.mode in GREY else "RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} is no readable picture ({clause(error)}).") from error
    finally:
        pillow.Image.MAX_IMAGE_PIXELS = before
    tensor = torch.from_numpy(pixels.copy())
    return Loaded(tensor[None] if tensor.dim() == 2 else tensor.permute(2, 0, 1).contiguous())


def examples(root: Path, *, masks: bool = True) -> list[Example]:
    """Pictures and masks below a folder: `images/` beside `masks/` (or `gt/`, as in Inria; `image/` beside `label/`, as in AIRS), matched by name.

    Args:
        root: the folder, such as `AerialImageDataset/train` or `airs/train`.
        masks: whether they are needed.

    Raises:
        DataError: no such folders, no pictures, a picture without its mask, or of another size.
    """
    pictures = _folder(root, IMAGE_FOLDERS, "pictures")
    listed = sorted(path for path in pictures.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not listed:
        raise DataError(f"{pictures} has no pictures ({' '.join(sorted(SUFFIXES))}).")
    if not masks:
        return [Example(path.stem, open_picture(path)) for path in listed]
    folder = _folder(root, MASK_FOLDERS, "masks")
    by_name = {_key(path): path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES and not path.stem.endswith("_vis")}
    found = []
    for path in listed:
        if _key(path) not in by_name:
            raise DataError(f"{path} has no mask of its name in {folder}.")
        example = Example(path.stem, open_picture(path), mask_of(open_picture(by_name[_key(path)], grey=True)))
        assert example.mask is not None
        if example.mask.shape[1:] != example.picture.shape[1:]:
            raise DataError(f"{path} has {example.picture.shape[1:]} pixels, but its mask {by_name[_key(path)].name} {example.mask.shape[1:]}.")
        found.append(example)
    return found


def mask_of(picture: Picture) -> Picture:
    """A mask's classes: where it holds 0 and 255 alone, as binary masks are stored, 255 is class 1."""
    if isinstance(picture, Loaded):
        values = set(torch.unique(picture.pixels).tolist())
        return Loaded((picture.pixels == 255).to(torch.uint8)) if 255 in values and values <= {0, 255} else picture
    return _Halved(picture)


@dataclass(frozen=True, eq=False)
class _Halved:
    """A binary mask that is read by window."""

    picture: Picture

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.picture.shape

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        return (self.picture.read(top, left, height, width)[:1] > 0).to(torch.uint8)


def _folder(root: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root} has no folder of {what}: expected one of {', '.join(names)}.")


def _key(path: Path) -> str:
    """What a picture and its mask have in common."""
    stem = path.stem
    for ending in ("_mask", "_label", "_gt"):
        stem = stem.removesuffix(ending)
    return stem
