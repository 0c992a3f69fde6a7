"""CIFAR-10 and CIFAR-100 from their binary version: records of label bytes and 3 x 32 x 32 pixel bytes, no pickle."""

from __future__ import annotations

import os
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prunus.data.download import Progress, fetch
from prunus.data.sets import ImageData, Split
from prunus.errors import DataError, clause

SIDE = 32  # pixels
PIXELS = 3 * SIDE * SIDE  # bytes of an image: red plane, green plane, blue plane


@dataclass(frozen=True)
class CifarSource:
    """Where a CIFAR set is found and published.

    Attributes:
        name: what it is called, and a folder below the root.
        folder: folder of the published archive.
        url: the archive (tar.gz).
        md5: its published checksum.
        train: files of the training split.
        test: files of the test split.
        records: images per file, by file.
        label_bytes: label bytes per record; the last of them is the class.
        classes: names of the classes.
        mean: mean of the training pixels of every plane in 0..1.
        std: their standard deviation.
    """

    name: str
    folder: str
    url: str
    md5: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    records: dict[str, int]
    label_bytes: int
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is needed."""
        return self.train + self.test


_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10 = CifarSource(
    name="cifar10",
    folder="cifar-10-batches-bin",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    train=_BATCHES,
    test=("test_batch.bin",),
    records=dict.fromkeys((*_BATCHES, "test_batch.bin"), 10_000),
    label_bytes=1,
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
CIFAR100 = CifarSource(
    name="cifar100",
    folder="cifar-100-binary",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    train=("train.bin",),
    test=("test.bin",),
    records={"train.bin": 50_000, "test.bin": 10_000},
    label_bytes=2,
    classes=tuple(_FINE.split()),
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


def load_cifar(source: CifarSource, root: Path, download: bool = True, progress: Progress | None = None) -> ImageData:
    """Read a CIFAR set from below `root`, or download it to `root / source.folder`.

    Raises:
        DataError: not there and not to be downloaded, a failed download, or a damaged file (named, with the sizes).
    """
    folder = find(source, root)
    if folder is None:
        if not download:
            places = ", ".join(str(place) for place in _places(source, root))
            raise DataError(f"There is no {source.name}, binary version ({', '.join(source.files)}), in any of {places}.")
        folder = root / source.folder
        archive = root / source.url.rpartition("/")[2]
        fetch(source.url, archive, source.md5, progress)
        extract(archive, folder, source)
        archive.unlink()
    train, test = (_split(folder, files, source) for files in (source.train, source.test))
    return ImageData(source.name, train, test, source.classes, source.mean, source.std)


def find(source: CifarSource, root: Path) -> Path | None:
    """The first folder that has all the files."""
    for folder in _places(source, root):
        if all((folder / file).is_file() for file in source.files):
            return folder
    return None


def extract(archive: Path, folder: Path, source: CifarSource) -> None:
    """Take exactly the files of the set out of an archive, each in its place only when it is whole.

    Members are looked up by their exact name, must be regular files of the known size, and are copied as bytes, so an
    archive with other names, links or sizes cannot write anywhere else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            for file in source.files:
                _extract_one(tar, file, folder, source)
    except (tarfile.TarError, KeyError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"Cannot unpack {archive}: {clause(error)}.") from error


def _extract_one(tar: tarfile.TarFile, file: str, folder: Path, source: CifarSource) -> None:
    member = tar.getmember(f"{source.folder}/{file}")
    expected = _size(file, source)
    stream = tar.extractfile(member) if member.isreg() else None
    if stream is None or member.size != expected:
        raise DataError(f"{member.name} in the archive should be a file of {expected:,} bytes, not {member.size:,}.")
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{file}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(stream.read())
        Path(temporary).replace(folder / file)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _places(source: CifarSource, root: Path) -> tuple[Path, ...]:
    return root / source.folder, root / source.name, root / source.name / source.folder, root


def _size(file: str, source: CifarSource) -> int:
    return source.records[file] * (source.label_bytes + PIXELS)


def _split(folder: Path, files: tuple[str, ...], source: CifarSource) -> Split:
    records = np.concatenate([_records(folder / file, _size(file, source), source) for file in files])
    labels = records[:, source.label_bytes - 1].astype(np.int64)
    images = np.ascontiguousarray(records[:, source.label_bytes :]).reshape(-1, 3, SIDE, SIDE)
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def _records(path: Path, expected: int, source: CifarSource) -> np.ndarray:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {clause(error)}.") from error
    if len(content) != expected:
        raise DataError(f"{path} should have {expected:,} bytes, not {len(content):,}.")
    records = content.reshape(-1, source.label_bytes + PIXELS)
    highest = int(records[:, source.label_bytes - 1].max(initial=0))
    if highest >= len(source.classes):
        raise DataError(f"{path} should hold labels below {len(source.classes)}, not {highest}: it is no {source.name}.")
    return records
