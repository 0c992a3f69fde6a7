"""MNIST, Fashion-MNIST and any other set in idx files, plain or gzipped, under either style of name."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from prunus.data import limits
from prunus.data.download import Progress, fetch
from prunus.data.paths import AnyPath, as_folder, as_path, is_file, listed, shown
from prunus.data.sets import ImageData, Split, statistics, stratified, tell_missing
from prunus.data.unpack import take, unpacked
from prunus.errors import DataError

PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
STYLES = tuple(f"{separator}ubyte{suffix}" for separator in "-." for suffix in ("", ".gz"))
UNSIGNED_BYTE = 8  # the only type code that these sets use
MOST_AXES = 8
TEST_SHARE = 0.2  # held out of a set that has no test files
_PARTS = {"train": "train", "t10k": "test", "test": "test"}
_FILE = re.compile(
    r"(.*?)(train|t10k|test|val|valid|validation)[-_.](images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class IdxSource:
    """Where a set in MNIST's format is found and published.

    Attributes:
        name: what it is called, and its folder below the root.
        folders: where else to look, relative to the root.
        url: folder of the four gzipped files, ending in a slash.
        md5: published checksum of every gzipped file, by its name.
        classes: names of the classes.
        mean: mean of the training pixels in 0..1.
        std: their standard deviation.
    """

    name: str
    folders: tuple[str, ...]
    url: str
    md5: Mapping[str, str]
    classes: tuple[str, ...]
    mean: float
    std: float


MNIST = IdxSource(
    name="mnist",
    folders=("MNIST/raw", "MNIST", "."),
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    md5={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    classes=tuple("0123456789"),
    mean=0.1307,
    std=0.3081,
)
FASHION_MNIST = IdxSource(
    name="fashion-mnist",
    folders=("FashionMNIST/raw", "FashionMNIST", "fashion", "."),
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    md5={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    classes=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    mean=0.2860,
    std=0.3530,
)


def load_idx(
    source: IdxSource, root: AnyPath, download: bool = True, progress: Progress | None = None
) -> ImageData:
    """Read a set in MNIST's format from below `root`, or download it to `root / source.name`.

    Raises:
        DataError: not there and not to be downloaded, a failed download, or a damaged file (named, with the
            sizes).
    """
    root = as_path(root)
    files = find(source, root)
    if files is None:
        if not download:
            places = ", ".join(shown(root / folder) for folder in (source.name, *source.folders))
            raise DataError(
                f"There is no {source.name} (four idx files such as {PARTS[0]}-ubyte) in any of {places}."
            )
        for file, md5 in source.md5.items():
            if not is_file(root / source.name / file):
                fetch(source.url + file, root / source.name / file, md5, progress)
        files = find(source, root)
        if files is None:
            raise DataError(f"{source.url} did not give all four idx files of {source.name}.")
    train = _split(files[0], files[1], len(source.classes))
    test = _split(files[2], files[3], len(source.classes))
    _same_size(train, test, files[0], files[2])
    return ImageData(source.name, train, test, source.classes, (source.mean,), (source.std,))


def find(source: IdxSource, root: AnyPath) -> list[Path] | None:
    """The four files in the order of `PARTS`, from the first folder that has them all."""
    root = as_path(root)
    for folder in (source.name, *source.folders):
        named = [[root / folder / (part + style) for style in STYLES] for part in PARTS]
        found = [next((path for path in paths if is_file(path)), None) for paths in named]
        files = [path for path in found if path is not None]
        if len(files) == len(PARTS):
            return files
    return None


def is_idx_folder(root: AnyPath) -> bool:
    """Whether a folder holds idx files of images and labels to train on."""
    return all(("train", kind) in _files_in(as_path(root)) for kind in ("images", "labels"))


def load_idx_folder(root: AnyPath) -> ImageData:
    """Read a set of one's own from a folder of idx files: `train-images-idx3-ubyte`,
    `train-labels-idx1-ubyte`, and `t10k` or `test`, and `val`, likewise.

    Names may begin with the name of the set (`emnist-letters-train-…`), and files may be gzipped. Classes are
    numbered from 0 to the highest label; mean and deviation are those of the training images.
    Without test files those for validation are the test; without both a fifth of every class is held out.

    Raises DataError for damaged files, images of other sizes or without labels, or files of two sets.
    """
    root = as_folder(root)
    files = _files_in(root)
    parts = {part: _part(files, part, root) for part in ("train", "test", "validation")}
    train = parts["train"]
    assert train is not None  # `files` has them: it is such a folder
    for part, split in parts.items():
        if split is not None:
            _same_size(train, split, files["train", "images"], files[part, "images"])
    test, validation = parts["test"], parts["validation"]
    if test is None:
        test, validation = validation, None
    if test is None:
        kept, held = stratified(train.labels, TEST_SHARE, seed=0)
        train, test = train.subset(kept), train.subset(held)
    every = [part for part in (train, test, validation) if part is not None and len(part)]
    classes = tuple(map(str, range(1 + max(int(part.labels.max()) for part in every))))
    tell_missing(train.labels, len(classes), shown(root))
    return ImageData(root.name, train, test, classes, *statistics(train.images), validation)


def _part(files: Mapping[tuple[str, str], Path], part: str, root: Path) -> Split | None:
    """A part of a set; None where it has no files. Raises DataError for images without labels, or the other
    way round.
    """
    images, labels = files.get((part, "images")), files.get((part, "labels"))
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        there = images or labels
        assert there is not None
        raise DataError(
            f"{shown(root)} holds {shown(there.name)}, and no {'labels' if images else 'images'} that belong"
            " to it: add them, or take it away."
        )
    return _split(images, labels)


def _files_in(root: Path) -> dict[tuple[str, str], Path]:
    """The idx files of a folder by part ("train", "test" or "validation") and kind ("images" or "labels");
    raises DataError where there are two of one.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in listed(root):
        match = _FILE.fullmatch(path.name)
        if match is None or not is_file(path):
            continue
        key = _PARTS.get(match[2].lower(), "validation"), match[3].lower()
        if key in found:
            raise DataError(
                f"{shown(root)} holds {found[key].name} and {path.name}: keep the files of one set in a"
                " folder."
            )
        found[key] = path
    return found


def read_idx(path: AnyPath) -> Tensor:
    """Read one idx file of unsigned bytes, gzipped or not, into a uint8 tensor of the shape that it states.

    No more is unpacked than the header states, and nothing where it states more than the file can hold, or
    than `limits.IDX_BYTES`.

    Raises:
        DataError: not an idx file, a damaged one, or its size is not the one that its header states.
    """
    file = as_path(path)
    with unpacked(file) as (stream, most):
        shape = _shape(file, stream)
        start, size = 4 + 4 * len(shape), math.prod(shape)
        wanted = (
            f"{shown(file)} states a shape of {shape} and so should have {start + size:,} bytes (unpacked)"
        )
        packed = isinstance(stream, gzip.GzipFile)
        if start + size > most if packed else start + size != most:
            raise DataError(f"{wanted}, not {most:,}{' at most' if packed else ''}.")
        if size > limits.IDX_BYTES:
            raise DataError(f"{wanted}; {limits.in_words(limits.IDX_BYTES)} is the limit.")
        content = take(stream, size)
        if len(content) < size:
            raise DataError(f"{wanted}, not {start + len(content):,}.")
        if stream.read(1):  # also compares the checksum of a gzipped file
            raise DataError(f"{wanted}, not more.")
    return (
        torch.frombuffer(content, dtype=torch.uint8).reshape(shape)
        if size
        else torch.empty(shape, dtype=torch.uint8)
    )


def _shape(path: Path, stream: BinaryIO) -> tuple[int, ...]:
    """What the header states."""
    magic = stream.read(4)
    sizes = stream.read(4 * magic[3]) if len(magic) == 4 else b""
    if magic[:3] != bytes([0, 0, UNSIGNED_BYTE]) or len(magic) < 4 or len(sizes) < 4 * magic[3]:
        raise DataError(
            f"{shown(path)} is no idx file of bytes: it starts with {magic.hex(' ') or 'nothing'}."
        )
    if not 1 <= magic[3] <= MOST_AXES:
        raise DataError(
            f"{shown(path)} states a shape of {magic[3]} axes; idx files of samples have 1 to {MOST_AXES}."
        )
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def _same_size(train: Split, test: Split, train_path: Path, test_path: Path) -> None:
    sizes = tuple(train.images.shape[2:]), tuple(test.images.shape[2:])
    if sizes[0] != sizes[1]:
        raise DataError(
            f"{shown(test_path)} holds images of {sizes[1]} pixels, but {shown(train_path)} of {sizes[0]}."
        )


def _split(image_path: Path, label_path: Path, classes: int | None = None) -> Split:
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.dim() != 3:
        raise DataError(
            f"{shown(image_path)} should hold images (N, height, width), not {tuple(images.shape)}."
        )
    if labels.shape != images.shape[:1]:
        raise DataError(f"{shown(label_path)} should hold {len(images):,} labels, not {tuple(labels.shape)}.")
    if classes is not None and len(labels) and int(labels.max()) >= classes:
        raise DataError(f"{shown(label_path)} should hold labels below {classes}, not {int(labels.max())}.")
    return Split(images.unsqueeze(1), labels.long())
