"""Image folders: one sub-folder per class, read whole and brought to one size. Needs Pillow, the extra "images"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from prunus.data.download import Progress
from prunus.data.sets import ImageData, Split, statistics, stratified
from prunus.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
GREY = ("1", "L", "LA")
WIDE = ("I", "F")  # modes of more than 8 bits start like this
TEST_FOLDERS = ("test", "val", "validation")
TEST_SHARE = 0.2  # held out of a folder that has no test part


def load_folder(root: Path, image_size: int | None = None, progress: Progress | None = None) -> ImageData:
    """Read `root/train/CLASS/*` and `root/test/CLASS/*` (or `val`), or `root/CLASS/*` and test on a fifth.

    Classes are the names of the sub-folders of the training part, sorted. Every image is turned as its camera says,
    scaled so that it just covers the wanted size, and cropped at the centre. The planes are one (grey) if all images
    are grey, else three.

    Args:
        root: the folder.
        image_size: side of the square images [pixels]; None = height and width of the first training image.
        progress: called after every image with (folder name, images read, images in all).

    Raises:
        MissingExtraError: Pillow is not installed.
        DataError: no classes, an empty class, a test class without training images, or an unreadable image (named).
    """
    need_pillow()
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size must be at least 1 pixel, not {image_size}.")
    train_root = root / "train" if (root / "train").is_dir() else root
    classes = _class_names(train_root)
    train = _listed(train_root, classes, complete=True)
    test_root = next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    if train_root == root or test_root is None:
        test: list[tuple[Path, int]] = []
    else:
        if foreign := sorted(set(_class_names(test_root)) - set(classes)):
            raise DataError(f"{test_root} has classes without training images in {train_root}: {', '.join(foreign)}.")
        test = _listed(test_root, classes, complete=False)
    everything = _read(train + test, image_size, root.name, progress)
    if test:
        kept, held = torch.arange(len(train)), torch.arange(len(train), len(everything))
    else:
        kept, held = stratified(everything.labels, TEST_SHARE, seed=0)
    train_split = everything.subset(kept)
    mean, std = statistics(train_split.images)
    return ImageData(root.name, train_split, everything.subset(held), tuple(classes), mean, std)


def _class_names(root: Path) -> list[str]:
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise DataError(f"{root} has no class folders: expected one folder of images per class.")
    return names


def _listed(root: Path, classes: Sequence[str], complete: bool) -> list[tuple[Path, int]]:
    """Every image below `root` with the index of its class; `complete`: no class may be empty."""
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        paths = sorted(path for path in (root / name).rglob("*") if _is_image(path))
        if complete and not paths:
            raise DataError(f"{root / name} has no images ({' '.join(sorted(SUFFIXES))}).")
        found += [(path, label) for path in paths]
    if not found:
        raise DataError(f"{root} has no images in its class folders.")
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _read(listed: Sequence[tuple[Path, int]], size: int | None, label: str, progress: Progress | None) -> Split:
    modes = {_mode(path) for path, _ in listed}
    mode = "L" if modes.issubset(GREY) else "RGB"
    height, width = (size, size) if size is not None else _upright_size(listed[0][0])
    planes = len(mode)
    images = np.empty((len(listed), height, width, planes), np.uint8)
    for number, (path, _) in enumerate(listed):
        images[number] = _pixels(path, mode, height, width).reshape(height, width, planes)
        if progress is not None:
            progress(label, number + 1, len(listed))
    labels = torch.tensor([one for _, one in listed], dtype=torch.int64)
    return Split(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels)


def _pixels(path: Path, mode: str, height: int, width: int) -> np.ndarray:
    pillow = need_pillow()
    try:
        with pillow.Image.open(path) as opened:
            image = _flat(pillow.ImageOps.exif_transpose(opened), mode)
            return np.asarray(pillow.ImageOps.fit(image, (width, height), pillow.Image.Resampling.BILINEAR))
    except Exception as error:  # a damaged image can fail in any way inside the decoder
        raise _bad(path, error) from error


def _flat(image: Image, mode: str) -> Image:
    """The image in the wanted mode; a palette's transparency is dropped, not blended."""
    if image.mode == "P":
        image = image.convert("RGBA")
    return image.convert(mode)


def _mode(path: Path) -> str:
    pillow = need_pillow()
    try:
        with pillow.Image.open(path) as image:
            mode: str = image.mode
    except Exception as error:
        raise _bad(path, error) from error
    if mode.startswith(WIDE):
        raise DataError(f"{path} has more than 8 bits per pixel ({mode}): convert it to 8 bits first.")
    return mode


def _upright_size(path: Path) -> tuple[int, int]:
    pillow = need_pillow()
    try:
        with pillow.Image.open(path) as image:
            width, height = pillow.ImageOps.exif_transpose(image).size
    except Exception as error:
        raise _bad(path, error) from error
    return height, width


def _bad(path: Path, error: Exception) -> DataError:
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    return DataError(f"{path} is no readable image ({first.rstrip('.')}).")


def need_pillow() -> Any:
    """Pillow with the two modules used here, or one line that says how to get it."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise MissingExtraError("Images are read and written with Pillow, which is the extra 'images': pip install 'prunus[images]'.") from error
    module: ModuleType = PIL
    return module
