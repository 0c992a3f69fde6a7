"""Pictures with masks for segmentation: in memory, or read by window from files too large for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from prunus.data import limits
from prunus.data.decode import SUFFIXES, opened
from prunus.data.folder import GREY
from prunus.data.paths import AnyPath, as_file, as_folder, is_folder, listed, shown
from prunus.errors import DataError, MissingExtraError, PrunusError, clause

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_FOLDERS = ("images", "image", "imgs")
MASK_FOLDERS = ("masks", "mask", "gt", "labels", "label")  # gt: Inria, label: AIRS
GEOTIFF = (".tif", ".tiff")
IGNORED = 255  # in a mask: nobody knows
GEO_TAGS = {33550, 33922, 34264, 34735}  # scale, tie points, transformation and keys, of GeoTIFF 1.1
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
        DataError: no readable raster, one of other than 8 bits, or one beyond the limits; at `read` too,
            which may find what is damaged first.
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = as_file(path, "picture")
        with opened_raster(self.path) as source:
            if set(source.dtypes) != {"uint8"}:
                raise DataError(
                    f"{shown(path)} has {'/'.join(sorted(set(source.dtypes)))} pixels: convert it to 8 bits"
                    " first."
                )
            self._bands = tuple(range(1, min(source.count, 3) + 1))
            self._size = source.height, source.width
            self._check(source.block_shapes[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(planes, height, width)."""
        return len(self._bands), *self._size

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        """The window, from the file."""
        from rasterio.windows import Window

        with opened_raster(self.path) as source:
            return torch.from_numpy(source.read(self._bands, window=Window(left, top, width, height)))

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
        raise MissingExtraError(
            "Large GeoTIFFs are read with rasterio, which is the extra 'geo': pip install 'prunus[geo]'."
        ) from error
    return rasterio


def georeferenced(path: AnyPath) -> bool:
    """Whether a picture says where on earth it lies, as a GeoTIFF does. Raises DataError: no readable
    picture.
    """
    file = as_file(path, "picture")
    if file.suffix.lower() not in GEOTIFF:
        return False
    with opened(file, limits.RASTER_PIXELS) as image:
        return not GEO_TAGS.isdisjoint(getattr(image, "tag_v2", ()))


def open_picture(path: AnyPath, grey: bool = False) -> Picture:
    """A picture from a file: by window where it is a large TIFF, else in memory.

    Args:
        path: the file.
        grey: it is a mask, one plane of class indices; the indices count where it has a palette, and colours
            are refused.

    Raises:
        MissingExtraError: the library that reads it is not installed.
        DataError: no readable picture, or one beyond the limits (`prunus.data.limits`).
    """
    file = as_file(path, "picture")
    if file.suffix.lower() in GEOTIFF:
        with opened(file, limits.RASTER_PIXELS) as image:
            large = image.width * image.height > WHOLE
        if large:
            return Raster(file)
    with opened(file) as image:
        pixels = torch.from_numpy(np.array(_one_plane(file, image) if grey else _colours(image)))
    return Loaded(pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous())


def _colours(image: Image) -> Image:
    mode = "L" if image.mode in GREY else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _one_plane(path: Path, image: Image) -> Image:
    """A mask's classes; a grey mask may have been stored with three equal planes."""
    if image.mode in ("P", "L"):
        return image
    if image.mode in GREY:
        return image.convert("L")
    planes = image.convert("RGB").split()
    if any(plane.tobytes() != planes[0].tobytes() for plane in planes[1:]):
        raise DataError(
            f"The mask {shown(path)} is coloured ({image.mode}): a mask has one plane of class indices, or a"
            " palette."
        )
    return planes[0]


def examples(root: AnyPath, *, masks: bool = True, ignore: int = IGNORED) -> list[Example]:
    """Pictures and masks below a folder: `images/` beside `masks/` (or `gt/`, as in Inria; `image/` beside
    `label/`, as in AIRS), matched by name.

    Args:
        root: the folder, such as `AerialImageDataset/train` or `airs/train`.
        masks: whether they are needed.
        ignore: the label of mask pixels that count for nothing, in training and in metrics; they are read as
            `IGNORED`.

    Raises:
        DataError: a label beyond 0 to 255, no such folders, no pictures, a picture without its mask, or of
            another size, or more bytes in all than `limits.MEMORY`.
    """
    root = as_folder(root)
    if not 0 <= ignore <= IGNORED:
        raise DataError(f"The label to ignore is a value of a mask's pixels, 0 to {IGNORED}, not {ignore}.")
    pictures = _folder(root, IMAGE_FOLDERS, "pictures")
    paths = [
        path for path in listed(pictures) if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not paths:
        raise DataError(f"{shown(pictures)} has no pictures ({' '.join(sorted(SUFFIXES))}).")
    folder = _folder(root, MASK_FOLDERS, "masks") if masks else None
    by_name = _masks(folder) if folder is not None else {}
    found, held = [], 0
    for number, path in enumerate(paths):
        if folder is not None and _key(path) not in by_name:
            raise DataError(f"{shown(path)} has no mask of its name in {shown(folder)}.")
        example = _example(path, by_name.get(_key(path)), ignore)
        held += sum(
            one.pixels.numel() for one in (example.picture, _stored(example.mask)) if isinstance(one, Loaded)
        )
        if held > limits.MEMORY:
            raise DataError(
                f"{number + 1:,} of the {len(paths):,} pictures of {shown(root)} take {limits.in_words(held)}"
                f" of memory, and {limits.in_words(limits.MEMORY)} is the limit: store them as large"
                " GeoTIFFs, which are read by window, or take fewer."
            )
        found.append(example)
    return found


def _stored(mask: Picture | None) -> Picture | None:
    return mask.picture if isinstance(mask, _Known) else mask


def _masks(folder: Path) -> dict[str, Path]:
    """The masks of a folder by what they have in common with their pictures."""
    return {
        _key(path): path
        for path in listed(folder)
        if path.suffix.lower() in SUFFIXES and not path.stem.endswith("_vis")
    }


def _example(path: Path, mask: Path | None, ignore: int) -> Example:
    """A picture and its mask. Raises DataError for a mask of another size."""
    if mask is None:
        return Example(path.stem, open_picture(path))
    example = Example(path.stem, open_picture(path), mask_of(open_picture(mask, grey=True), ignore))
    assert example.mask is not None
    if example.mask.shape[1:] != example.picture.shape[1:]:
        raise DataError(
            f"{shown(path)} has {example.picture.shape[1:]} pixels, but its mask {shown(mask.name)}"
            f" {example.mask.shape[1:]}."
        )
    return example


def mask_of(picture: Picture, ignore: int = IGNORED) -> Picture:
    """A mask's classes, and `IGNORED` for the label to ignore.

    Unless another label than 255 is ignored, a mask of 0 and 255 alone is binary, as these are stored, and
    255 is class 1.
    """
    if ignore != IGNORED:
        return _Known(picture, ignore)
    if isinstance(picture, Loaded):
        values = set(torch.unique(picture.pixels).tolist())
        return (
            Loaded((picture.pixels == 255).to(torch.uint8))
            if 255 in values and values <= {0, 255}
            else picture
        )
    return _Halved(picture)


@dataclass(frozen=True, eq=False)
class _Known:
    """A mask in which a label of its own says that nobody knows."""

    picture: Picture
    ignore: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.picture.shape

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        found = self.picture.read(top, left, height, width)[:1]
        return torch.where(found == self.ignore, IGNORED, found)


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
        if is_folder(root / name):
            return root / name
    raise DataError(f"{shown(root)} has no folder of {what}: expected one of {', '.join(names)}.")


def _key(path: Path) -> str:
    """What a picture and its mask have in common."""
    stem = path.stem
    for ending in ("_mask", "_label", "_gt"):
        stem = stem.removesuffix(ending)
    return stem
