"""Pictures with masks for segmentation: in memory, or read by window from files too large for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from prunus._foundation.warned import warn
from prunus.data import limits
from prunus.data.decode import SUFFIXES, WHOLE_NUMBERS, opened, tiles_of, upright
from prunus.data.folder import GREY
from prunus.data.layout import IMAGE_FOLDERS, MASK_FOLDERS, pictures_and_masks
from prunus.data.paths import AnyPath, as_file, as_folder, is_file, listed, shown
from prunus.data.raster import Raster, as_labels, no_mask
from prunus.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

GEOTIFF = (".tif", ".tiff")
IGNORED = 255  # in a mask: nobody knows
GEO_TAGS = {33550, 33922, 34264, 34735}  # scale, tie points, transformation and keys, of GeoTIFF 1.1
WHOLE = 1 << 24  # pixels: files of more are read by window
SIDE = 4096  # of the windows in which all of a picture is looked at [pixels]
_LEVELS = (255, 65535)  # of a PGM file that holds labels as they are
_NO_DATA = 42113  # a tag of GDAL's
_ORIENTATION, _MORE_BANDS = 274, 338  # tags of TIFF; 1 in the latter: colours are multiplied by transparency


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
        grey: it is a mask, one plane of class indices, in 8 or more bits; the indices count where it has a
            palette, and colours are refused.

    Raises:
        MissingExtraError: the library that reads it is not installed.
        DataError: no readable picture, or one beyond the limits (`prunus.data.limits`).
    """
    file = as_file(path, "picture")
    if file.suffix.lower() in GEOTIFF:
        with opened(file, limits.RASTER_PIXELS, labels=grey) as image:
            if image.width * image.height > WHOLE:
                return _windowed(file, image, grey)
    with opened(file, labels=grey) as image:
        if grey:
            _check_levels(file, image)
        image = upright(file, image)  # as it is shown where masks are drawn
        pixels = torch.from_numpy(_labels(file, image) if grey else np.array(_colours(image)))
    return Loaded(pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous())


def _windowed(file: Path, image: Image, grey: bool) -> Raster:
    """A large TIFF, with the pixels that it would have if it were read whole. Raises DataError where that
    cannot be.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(_ORIENTATION, 1) != 1:
        raise DataError(f"{shown(file)} is stored turned, and is too large to be turned: store it upright.")
    raster = Raster(file, grey)
    planes = 1 if grey or image.mode in GREY else 3
    if image.mode == "LAB" or 1 in tags.get(_MORE_BANDS, ())[:1] or raster.shape[0] != planes:
        raise DataError(
            f"{shown(file)} is too large to be read whole, and by window its colours would be others"
            f" ({image.mode}): store it in grey levels or RGB, and transparency as it is."
        )
    return raster


def _colours(image: Image) -> Image:
    mode = "L" if image.mode in GREY else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _check_levels(path: Path, image: Image) -> None:
    """Raises DataError for a mask whose decoder, once it runs, gives other labels than are stored."""
    tiles = tiles_of(image)
    for decoder, _, _, how in tiles:
        if decoder.startswith("ppm") and how[-1] not in _LEVELS:
            raise DataError(
                f"{shown(path)} has levels up to {how[-1]}, which are stretched when they are read: store the"
                f" labels of a mask with levels up to {_LEVELS[0]}."
            )
    wide = image.mode.startswith(WHOLE_NUMBERS)
    if not wide and any(";16" in str(tile[-1]) for tile in tiles):  # of several planes it keeps high bytes
        raise no_mask(path, f"{image.mode} in 16 bits")


def _labels(path: Path, image: Image) -> np.ndarray:
    """A mask's classes; a grey mask may have been stored with three equal planes, or in more than 8 bits."""
    if image.mode.startswith(WHOLE_NUMBERS):
        return as_labels(path, np.array(image))
    if image.mode in ("P", "L"):
        return np.array(image)
    if image.mode in GREY:
        return np.array(image.convert("L"))
    planes = image.convert("RGB").split()
    if any(plane.tobytes() != planes[0].tobytes() for plane in planes[1:]):
        raise no_mask(path, image.mode)
    return np.array(planes[0])


def examples(root: AnyPath, *, masks: bool = True, ignore: int = IGNORED) -> list[Example]:
    """Pictures and masks below a folder: `images/` beside `masks/` (or `gt/`, as in Inria; `image/` beside
    `label/`, as in AIRS), matched by name.

    Args:
        root: the folder, such as `AerialImageDataset/train` or `airs/train`.
        masks: whether they are needed.
        ignore: the label of mask pixels that count for nothing, in training and in metrics; they are read as
            `IGNORED`. Unless it is another than 255, masks of which none holds anything but 0 and 255 are
            binary, as these are stored, and 255 is class 1.

    Raises:
        DataError: a label beyond 0 to 255, no such folders, no pictures, a picture without its mask, with two
            or with one of another size, or more bytes in all than `limits.MEMORY`.
    """
    return examples_of([root], masks=masks, ignore=ignore)[0]


def examples_of(
    roots: Sequence[AnyPath], *, masks: bool = True, ignore: int = IGNORED
) -> list[list[Example]]:
    """The examples of several folders that are parts of one set, whose masks are binary together or not at
    all; arguments and errors as of `examples`.
    """
    if not 0 <= ignore <= IGNORED:
        raise DataError(f"The label to ignore is a value of a mask's pixels, 0 to {IGNORED}, not {ignore}.")
    parts = [_stored(as_folder(root), masks) for root in roots]
    stored = [one.mask for part in parts for one in part if one.mask is not None]
    for root in roots if masks else ():
        _tell_no_data(as_folder(root), ignore)
    binary = ignore == IGNORED and bool(stored) and all(map(_is_binary, stored))
    return [[replace(one, mask=_meant(one.mask, ignore, binary)) for one in part] for part in parts]


def _stored(root: Path, masks: bool) -> list[Example]:
    """The examples of one folder, their masks as they are stored."""
    place, beside = pictures_and_masks(root)
    pictures = _there(place, root, IMAGE_FOLDERS, "pictures")
    paths = list(_by_name(pictures, "pictures").values())
    if not paths:
        raise DataError(f"{shown(pictures)} has no pictures ({' '.join(sorted(SUFFIXES))}).")
    folder = _there(beside, root, MASK_FOLDERS, "masks") if masks else None
    by_name = _by_name(folder, "masks") if folder is not None else {}
    found, held = [], 0
    for number, path in enumerate(paths):
        if folder is not None and _key(path) not in by_name:
            raise DataError(f"{shown(path)} has no mask of its name in {shown(folder)}.")
        example = _example(path, by_name.get(_key(path)))
        held += sum(one.pixels.numel() for one in (example.picture, example.mask) if isinstance(one, Loaded))
        if held > limits.MEMORY:
            raise DataError(
                f"{number + 1:,} of the {len(paths):,} pictures of {shown(root)} take {limits.in_words(held)}"
                f" of memory, and {limits.in_words(limits.MEMORY)} is the limit: store them as large"
                " GeoTIFFs, which are read by window, or take fewer."
            )
        found.append(example)
    return found


def _tell_no_data(root: Path, ignore: int) -> None:
    """Warn of a mask whose file says that one of its labels is no data, where that is not the one to
    ignore.
    """
    folder = pictures_and_masks(root)[1]
    for path in listed(folder) if folder is not None else ():
        if path.suffix.lower() not in GEOTIFF or not is_file(path):
            continue
        with opened(path, limits.RASTER_PIXELS, labels=True) as image:
            said = str(getattr(image, "tag_v2", {}).get(_NO_DATA, "")).strip("\0 ")
        if said.isdecimal() and int(said) < IGNORED and int(said) != ignore:
            warn(
                f"{shown(path)} says that its label {said} is no data, and it counts as a class:"
                f" ignore={said} (--ignore {said}) leaves it out."
            )
            return


def _by_name(folder: Path, what: str) -> dict[str, Path]:
    """The pictures or the masks of a folder by what these have in common. Raises DataError where two have the
    same, as one would be read, or written, in place of the other.
    """
    found: dict[str, Path] = {}
    for path in listed(folder):
        drawn = what == "masks" and path.stem.endswith("_vis")  # as AIRS has of its masks, to look at
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or drawn:
            continue
        other = found.setdefault(_key(path), path)
        if other != path:
            raise DataError(
                f"{shown(folder)} has two {what} of the name {_key(path)}, {shown(other.name)} and"
                f" {shown(path.name)}: leave one of them."
            )
    return found


def _example(path: Path, mask: Path | None) -> Example:
    """A picture and its mask. Raises DataError for a mask of another size."""
    if mask is None:
        return Example(path.stem, open_picture(path))
    picture, classes = open_picture(path), open_picture(mask, grey=True)
    if classes.shape[1:] != picture.shape[1:]:
        raise DataError(
            f"{shown(path)} has {picture.shape[1:]} pixels, but its mask {shown(mask.name)}"
            f" {classes.shape[1:]}."
        )
    return Example(path.stem, picture, classes)


def void_label(mask: Picture | None) -> int:
    """The label that its file has for pixels that count for nothing, which are read as `IGNORED`."""
    return mask.ignore if isinstance(mask, _Known) else IGNORED


def _meant(mask: Picture | None, ignore: int, binary: bool) -> Picture | None:
    """A mask's classes, and `IGNORED` for the label to ignore."""
    if mask is None or not (binary or ignore != IGNORED):
        return mask
    if ignore != IGNORED:
        return _Known(mask, ignore)
    return Loaded((mask.pixels > 0).to(torch.uint8)) if isinstance(mask, Loaded) else _Halved(mask)


def _is_binary(mask: Picture) -> bool:
    """Whether a mask holds nothing but 0 and 255."""
    return all(bool(((window == 0) | (window == IGNORED)).all()) for window in windows(mask))


def windows(picture: Picture) -> Iterator[Tensor]:
    """All of a picture, in windows of up to `SIDE` pixels a side."""
    _, height, width = picture.shape
    for top in range(0, height, SIDE):
        for left in range(0, width, SIDE):
            yield picture.read(top, left, min(SIDE, height - top), min(SIDE, width - left))


@dataclass(frozen=True, eq=False)
class _Known:
    """A mask in which a label of its own says that nobody knows."""

    picture: Picture
    ignore: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.picture.shape

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        found = self.picture.read(top, left, height, width)
        return torch.where(found == self.ignore, IGNORED, found)


@dataclass(frozen=True, eq=False)
class _Halved:
    """A binary mask that is read by window."""

    picture: Picture

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.picture.shape

    def read(self, top: int, left: int, height: int, width: int) -> Tensor:
        return (self.picture.read(top, left, height, width) > 0).to(torch.uint8)


def _there(folder: Path | None, root: Path, names: Sequence[str], what: str) -> Path:
    if folder is None:
        raise DataError(f"{shown(root)} has no folder of {what}: expected one of {', '.join(names)}.")
    return folder


def _key(path: Path) -> str:
    """What a picture and its mask have in common."""
    stem = path.stem
    for ending in ("_mask", "_label", "_gt"):
        stem = stem.removesuffix(ending)
    return stem
