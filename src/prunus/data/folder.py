"""Image folders: one sub-folder per class, read whole and brought to one size. Needs Pillow, the extra
"images".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from prunus.data import limits
from prunus.data.decode import SUFFIXES, need_pillow, opened, upright, upright_size
from prunus.data.download import Progress
from prunus.data.layout import PART_FOLDERS, folders_in, named, parts_of, pictures_and_masks, says_no_class
from prunus.data.paths import (
    AnyPath,
    as_folder,
    check_link,
    files_below,
    is_file,
    is_folder,
    listed,
    shown,
)
from prunus.data.sets import ImageData, Split, statistics, stratified
from prunus.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

GREY = ("1", "L", "LA")
AHEAD = 4  # images per thread that are read before they are asked for
TEST_SHARE = 0.2  # held out of a folder that has no test part


def load_folder(
    root: AnyPath, image_size: int | None = None, progress: Progress | None = None, workers: int = 0
) -> ImageData:
    """Read `root/train/CLASS/*`, `root/test/CLASS/*` and, for validation, `root/val/CLASS/*`; or
    `root/CLASS/*`.

    Without `test` the validation images are the test; without both a fifth of every class is held out to test
    on. Classes are the names of the sub-folders of the training part, sorted. Every image is turned as its
    camera says, scaled so that it just covers the wanted size, and cropped at the centre. The planes are one
    (grey) if all images are grey, else three.

    Args:
        root: the folder.
        image_size: side of the square images [pixels]; None = height and width of the first training image.
        progress: called after every image with (folder name, images read, images in all).
        workers: threads that read images beside this one; the result is the same.

    Raises:
        MissingExtraError: Pillow is not installed.
        DataError: no such folder, one class or none, an empty class, a test class without training images,
            nothing to test on, an unreadable image or one of too many pixels (named), or more bytes in all
            than `limits.MEMORY`.
    """
    need_pillow()
    root = as_folder(root)
    if image_size is not None and image_size < 1:
        raise DataError(f"image_size must be at least 1 pixel, not {image_size}.")
    parts = parts_of(root)
    train_root, test_root, held_root = parts.train, parts.test, parts.validation
    classes = _class_names(train_root)
    _check_classes(train_root, classes)
    train = _listed(train_root, classes, complete=True)
    if len(classes) < 2:
        raise DataError(
            f"{shown(train_root)} has one class folder alone, {classes[0]}, and nothing to tell it apart"
            " from: expected one folder of images per class."
        )
    test, held = _others(test_root, classes, train_root), _others(held_root, classes, train_root)
    parts.tell()
    everything = _read(train + test + held, image_size, root.name, progress, workers)
    if not test and len(train) == len(classes):
        raise DataError(
            f"{shown(train_root)} has one image of every class, and none can be held out to test on: add"
            " more, or the folder test beside train."
        )
    ends = torch.arange(len(train)), torch.arange(len(train), len(train) + len(test))
    kept, reported = ends if test else stratified(everything.labels[: len(train)], TEST_SHARE, seed=0)
    train_split = everything.subset(kept)
    mean, std = statistics(train_split.images)
    validation = everything.subset(torch.arange(len(train) + len(test), len(everything))) if held else None
    return ImageData(
        root.name, train_split, everything.subset(reported), tuple(classes), mean, std, validation
    )


def _check_classes(place: Path, classes: Sequence[str]) -> None:
    """Raises DataError where folders are no classes, but parts of a set, or pictures and masks."""
    pictures, masks = pictures_and_masks(place)
    if pictures is not None and masks is not None and len(classes) == 2:
        raise DataError(
            f"{shown(place)} holds pictures and masks, {shown(pictures.name)} and {shown(masks.name)}, and no"
            " folders of classes: prunus.data.picture_sets.load_pictures reads them."
        )
    apart = [
        path.name for path in named([place / name for name in classes], PART_FOLDERS) if folders_in(path)
    ]
    if all(map(says_no_class, classes)):  # train_images, train_masks
        apart = list(classes)
    if apart:
        raise DataError(
            f"In {shown(place)} {' and '.join(apart)} would be {'a class' if len(apart) == 1 else 'classes'}:"
            " the parts of a set are train, test and val, each with a folder of images per class, or with"
            " images and masks."
        )


def _others(root: Path | None, classes: Sequence[str], train_root: Path) -> list[tuple[Path, int]]:
    """The images of another part than the training's; raises DataError for classes that only it has."""
    if root is None:
        return []
    if foreign := sorted(set(_class_names(root)) - set(classes)):
        raise DataError(
            f"{shown(root)} has classes without training images in {shown(train_root)}: {', '.join(foreign)}."
        )
    return _listed(root, classes, complete=False)


def _class_names(root: Path) -> list[str]:
    entries = [path for path in listed(root) if not path.name.startswith(".")]
    for path in entries:
        check_link(path)  # of a class, perhaps on a disk that is not here
    names = [path.name for path in entries if is_folder(path)]
    if not names:
        raise DataError(f"{shown(root)} has no class folders: expected one folder of images per class.")
    for name in names:
        if not name.isprintable():  # it goes into reports and files
            raise DataError(
                f"The class folder {shown(root / name)} has a name with characters that cannot be printed:"
                " give it another one."
            )
    return names


def _listed(root: Path, classes: Sequence[str], complete: bool) -> list[tuple[Path, int]]:
    """Every image below `root` with the index of its class; `complete`: no class may be empty."""
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        paths = (
            [path for path in files_below(root / name) if _is_image(path)]
            if complete or is_folder(root / name)
            else []
        )
        if complete and not paths:
            raise DataError(f"{shown(root / name)} has no images ({' '.join(sorted(SUFFIXES))}).")
        found += [(path, label) for path in paths]
    if not found:
        raise DataError(f"{shown(root)} has no images in its class folders.")
    return found


def _is_image(path: Path) -> bool:
    if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
        return False
    check_link(path)
    return is_file(path)


def _read(
    listed: Sequence[tuple[Path, int]],
    size: int | None,
    label: str,
    progress: Progress | None,
    workers: int = 0,
) -> Split:
    modes = {_mode(path) for path, _ in listed}
    mode = "L" if modes.issubset(GREY) else "RGB"
    height, width = (size, size) if size is not None else _upright_size(listed[0][0])
    images = torch.from_numpy(_room(len(listed), len(mode), height, width))
    for number, pixels in enumerate(
        _each([path for path, _ in listed], partial(_pixels, mode=mode, height=height, width=width), workers)
    ):
        images[number] = torch.from_numpy(pixels).view(height, width, len(mode)).permute(2, 0, 1)
        if progress is not None:
            progress(label, number + 1, len(listed))
    return Split(images, torch.tensor([one for _, one in listed], dtype=torch.int64))


def _each(paths: Sequence[Path], read: Callable[[Path], np.ndarray], workers: int) -> Iterator[np.ndarray]:
    """What is read of every file, in order; a few files ahead where there are threads for it."""
    if not workers:
        yield from map(read, paths)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[np.ndarray]] = deque()
        try:
            for path in paths:
                ahead.append(pool.submit(read, path))
                if len(ahead) > AHEAD * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _room(count: int, planes: int, height: int, width: int) -> np.ndarray:
    """Memory for images, uint8 (count, planes, height, width). Raises DataError where they need more than the
    limit, or than there is.
    """
    needed = count * planes * height * width
    what = (
        f"{count:,} images of {planes} x {height:,} x {width:,} pixels need {limits.in_words(needed)} of"
        " memory"
    )
    if needed > limits.MEMORY:
        raise DataError(
            f"{what}, and {limits.in_words(limits.MEMORY)} is the limit: choose a smaller image_size, or"
            " fewer images."
        )
    try:
        return np.empty((count, planes, height, width), np.uint8)
    except (MemoryError, ValueError) as error:
        raise DataError(
            f"{what}, which is more than there is: choose a smaller image_size, or fewer images."
        ) from error


def _pixels(path: Path, mode: str, height: int, width: int) -> np.ndarray:
    pillow = need_pillow()
    with opened(path, what="image") as image:
        flat = _flat(upright(path, image), mode)
        return np.array(pillow.ImageOps.fit(flat, (width, height), pillow.Image.Resampling.BILINEAR))


def _flat(image: Image, mode: str) -> Image:
    """The image in the wanted mode; a palette's transparency is dropped, not blended."""
    if image.mode == "P":
        image = image.convert("RGBA")
    return image.convert(mode)


def _mode(path: Path) -> str:
    with opened(path, what="image") as image:
        return image.mode


def _upright_size(path: Path) -> tuple[int, int]:
    with opened(path, what="image") as image:
        return upright_size(image)
