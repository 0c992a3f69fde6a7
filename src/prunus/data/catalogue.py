"""Data sets by name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from prunus._foundation.arguments import door
from prunus._foundation.warned import warn
from prunus.data.cifar import CIFAR10, CIFAR100, load_cifar
from prunus.data.digits import load_digits
from prunus.data.download import Progress
from prunus.data.folder import load_folder
from prunus.data.idx import FASHION_MNIST, MNIST, is_idx_folder, load_idx, load_idx_folder
from prunus.data.npz import is_npz
from prunus.data.paths import AnyPath, as_path, is_folder, is_there, shown
from prunus.data.sets import ImageData
from prunus.errors import DataError

_FILES: dict[str, Callable[[Path, bool, Progress | None], ImageData]] = {
    "mnist": partial(load_idx, MNIST),
    "fashion-mnist": partial(load_idx, FASHION_MNIST),
    "cifar10": partial(load_cifar, CIFAR10),
    "cifar100": partial(load_cifar, CIFAR100),
}


def _from_folder(folder: Path, image_size: int | None, workers: int, progress: Progress | None) -> ImageData:
    """What a folder holds: idx files, or images in folders by class."""
    if not is_idx_folder(folder):
        return load_folder(folder, image_size, progress, workers)
    if image_size is not None:
        raise DataError(
            f"image_size is for image folders; the images in the idx files of {shown(folder)} have a size of"
            " their own."
        )
    return load_idx_folder(folder)


def names() -> tuple[str, ...]:
    """Names that `load` knows, beside paths of image folders."""
    return ("digits", *_FILES)


def default_root() -> Path:
    """Where data sets are looked for and downloaded to: `$PRUNUS_DATA`, else `~/.cache/prunus`."""
    chosen = os.environ.get("PRUNUS_DATA")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "prunus"


@door(DataError)
def load(
    name: AnyPath,
    root: AnyPath | None = None,
    download: bool = True,
    *,
    image_size: int | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> ImageData:
    """Load a data set.

    Args:
        name: one of `names()`, or the path of a folder of images by class, or of idx files (also relative to
            `root`).
        root: where its files are looked for, and downloaded to; None = `default_root()`.
        download: fetch the published files when they are absent; each is checked against its published
            checksum.
        image_size: for an image folder, the side of the images [pixels]; None = the size of the first one.
        workers: threads that read the images of a folder beside this one.
        progress: called with (what, done, total): bytes of a download, images of a folder.

    Raises:
        DataError: no such set, absent files, a failed download or a damaged file; the text names it.
        MissingExtraError: an image folder without Pillow.
    """
    name = str(as_path(name))
    place = default_root() if root is None else as_path(root).expanduser()
    known = name in names()
    if image_size is not None and known:
        raise DataError(f"image_size is for image folders; the images of {name} have a size of their own.")
    if known and is_folder(Path(name)) and not (is_folder(place / name) and (place / name).samefile(name)):
        warn(f"{name} is the set of that name, and not the folder that lies here, which is ./{name}.")
    if name == "digits":
        return load_digits()
    if known:
        return _FILES[name](place, download, progress)
    for folder in (Path(name).expanduser(), place / name):
        if is_folder(folder):
            return _from_folder(folder.resolve(), image_size, workers, progress)
        if is_npz(name) and is_there(folder):
            raise DataError(f"{shown(folder)} holds arrays: prunus.tasks.npz_task makes a task of them.")
        if is_there(folder):
            raise DataError(f"{shown(folder)} is a file, or a link to nowhere; an image folder is needed.")
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else f" The names are {', '.join(names())}."
    raise DataError(f"There is no data set, nor an image folder, {name!r}.{hint}")
