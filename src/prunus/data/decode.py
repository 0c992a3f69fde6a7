"""Pictures from files by Pillow: of seven formats, never more pixels than a limit says, and whatever goes
wrong is an error that names the file.

Pillow has a limit of its own, which is one setting for the whole process and a warning before it is an error.
It is obeyed where it is the lower one, and never changed.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from prunus.data import limits
from prunus.data.paths import as_file, shown
from prunus.errors import DataError, MissingExtraError, PrunusError, clause

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
FORMATS = (
    "BMP",
    "GIF",
    "JPEG",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)  # whatever the suffix says; others, PostScript above all, run far more code
WIDE = ("I", "F")  # modes of more than 8 bits start like this
WHOLE_NUMBERS = "I"  # and those of whole numbers like this
_QUARTER_TURNS = (5, 6, 7, 8)  # values of the EXIF tag below
_ORIENTATION = 0x0112
_WIDTH, _HEIGHT = 256, 257  # tags of TIFF


@contextmanager
def opened(
    path: Path, most: int | None = None, what: str = "picture", labels: bool = False
) -> Iterator[Image]:
    """A picture whose header has been read; it is decoded when its pixels are asked for. Only its first frame
    counts.

    Args:
        path: the file.
        most: pixels that it may have; None = `limits.PIXELS`, or Pillow's own `MAX_IMAGE_PIXELS` where that
            is lower.
        what: what errors call it.
        labels: its pixels are labels, which may have been stored as whole numbers of more than 8 bits.

    Raises:
        MissingExtraError: Pillow is not installed.
        DataError: no such file, no picture, one of more than 8 bits or of too many pixels, or one that cannot
            be decoded, inside the `with` too.
    """
    pillow = need_pillow()
    limit = min(limits.PIXELS, pillow.Image.MAX_IMAGE_PIXELS or limits.PIXELS) if most is None else most
    as_file(path, what)
    try:
        with _Bounded(path) as file, _identified(pillow, file, path, limit) as image:
            if image.width < 1 or image.height < 1:
                raise ValueError(f"Its header says {image.width:,} x {image.height:,} pixels.")
            _check_size(path, image.width, image.height, limit)
            if image.mode.startswith(WIDE) and not (labels and image.mode.startswith(WHOLE_NUMBERS)):
                raise DataError(
                    f"{shown(path)} has more than 8 bits per pixel ({image.mode}): convert it to 8 bits"
                    " first."
                )
            yield image
    except PrunusError:
        raise
    except Exception as error:  # a damaged picture can fail in any way inside the decoder
        raise DataError(f"{shown(path)} is no readable {what} ({clause(error)}).") from error


def upright(path: Path, image: Image) -> Image:
    """The picture of a file, not decoded yet, turned as its camera says. Raises DataError where it cannot be
    turned.
    """
    if image.format == "TIFF" and _is_raw(image) and _is_on_its_side(image):
        raise DataError(
            f"{shown(path)} is stored turned by a quarter and without compression, which Pillow reads as"
            " noise: store it upright."
        )
    if image.getexif().get(_ORIENTATION, 1) == 1:
        return image
    turned: Image = need_pillow().ImageOps.exif_transpose(image)
    return turned


def upright_size(image: Image) -> tuple[int, int]:
    """(height, width) once the picture is turned as its camera says."""
    stored = getattr(image, "tag_v2", {})  # of a TIFF, whose size may be given as turned already
    width, height = stored.get(_WIDTH, image.width), stored.get(_HEIGHT, image.height)
    return (width, height) if _is_on_its_side(image) else (height, width)


def _is_raw(image: Image) -> bool:
    """Whether its pixels lie in the file as they are."""
    return any(tile[0] == "raw" for tile in tiles_of(image))


def tiles_of(image: Image) -> Any:
    """How the parts of a file are decoded: by what, where, from which byte, and how."""
    return getattr(image, "tile", ())


def _is_on_its_side(image: Image) -> bool:
    return image.getexif().get(_ORIENTATION) in _QUARTER_TURNS


def need_pillow() -> Any:
    """Pillow with the two modules used here, or one line that says how to get it."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise MissingExtraError(
            "Images are read and written with Pillow, which is the extra 'images': pip install"
            " 'prunus[images]'."
        ) from error
    module: ModuleType = PIL
    return module


class _Bounded(io.BufferedReader):
    """A file that makes room for no more bytes than it has, however many a picture's header asks for."""

    def __init__(self, path: Path) -> None:
        raw = io.FileIO(path)
        super().__init__(raw)
        self._end = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._end - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def _identified(pillow: Any, file: _Bounded, path: Path, limit: int) -> Image:
    """What `PIL.Image.open` returns, without its look at the number of pixels."""
    pillow.Image.init()
    start = file.read(32)
    if (canvas := _webp_size(start)) is not None:
        _check_size(path, *canvas, limit)  # its decoder makes room as soon as the file is opened
    for name in FORMATS:
        make, accept = pillow.Image.OPEN.get(name, (None, None))
        answer = make is not None and (accept is None or accept(start[:16]))
        if not answer or isinstance(answer, str):  # a text says what this Pillow lacks
            continue
        file.seek(0)
        try:
            image: Image = make(file, str(path))
            return image
        except (
            SyntaxError,
            IndexError,
            TypeError,
            struct.error,
        ):  # as Pillow does: it may be of another format
            continue
    raise ValueError(f"It is none of {', '.join(FORMATS)}, or its header is damaged.")


def _check_size(path: Path, width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise DataError(
            f"{shown(path)} has {width:,} x {height:,} pixels, and {limit:,} at most are decoded as a whole:"
            " cut it into tiles, or, for segmentation, store it as a GeoTIFF, which the extra 'geo' reads by"
            " window."
        )


def _webp_size(start: bytes) -> tuple[int, int] | None:
    """(width, height) in the first 32 bytes of a WebP file; None for others."""
    if len(start) < 30 or start[:4] != b"RIFF" or start[8:12] != b"WEBP":
        return None
    kind = start[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", start[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None
