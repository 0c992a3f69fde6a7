"""CIFAR-10 and CIFAR-100 from their binary version: records of label bytes and 3 x 32 x 32 pixel bytes, no
pickle.
"""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch

from prunus._foundation.atomic import writing
from prunus.data import limits
from prunus.data.download import Progress, fetch
from prunus.data.paths import AnyPath, as_file, as_path, is_file, shown
from prunus.data.sets import ImageData, Split
from prunus.data.unpack import CHUNK, Counted, unpacked
from prunus.errors import DataError, FileFormatError, clause

SIDE = 32  # pixels
PIXELS = 3 * SIDE * SIDE  # bytes of an image: red plane, green plane, blue plane
SLACK = 1 << 20  # bytes of an archive beside the set: notes, and what lies between entries


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
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel
streetcar
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


def load_cifar(
    source: CifarSource, root: AnyPath, download: bool = True, progress: Progress | None = None
) -> ImageData:
    """Read a CIFAR set from below `root`, or download it to `root / source.folder`.

    Raises:
        DataError: not there and not to be downloaded, a failed download, or a damaged file (named, with the
            sizes).
    """
    root = as_path(root)
    folder = find(source, root)
    if folder is None:
        if not download:
            places = ", ".join(shown(place) for place in _places(source, root))
            raise DataError(
                f"There is no {source.name}, binary version ({', '.join(source.files)}), in any of {places}."
            )
        folder = root / source.folder
        archive = root / source.url.rpartition("/")[2]
        fetch(source.url, archive, source.md5, progress)
        extract(archive, folder, source)
        archive.unlink()
    train, test = (_split(folder, files, source) for files in (source.train, source.test))
    return ImageData(source.name, train, test, source.classes, source.mean, source.std)


def find(source: CifarSource, root: AnyPath) -> Path | None:
    """The first folder that has all the files."""
    for folder in _places(source, as_path(root)):
        if all(is_file(folder / file) for file in source.files):
            return folder
    return None


def extract(archive: AnyPath, folder: AnyPath, source: CifarSource) -> None:
    """Take exactly the files of the set out of an archive, each in its place only when it is whole.

    Entries are looked up by their exact name, must be plain files of the known size, once each, and are
    copied piece by piece: an archive with other names, links, sizes or holes cannot write anywhere else, and
    one that unpacks to more than twice the set is given up.

    Raises DataError for such an archive, a damaged one, and a folder that cannot be written.
    """
    archive, folder = as_file(archive, "archive"), as_path(folder)
    left = {f"{source.folder}/{file}": file for file in source.files}
    most = 2 * sum(_size(file, source) for file in source.files) + SLACK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            unpacked(archive) as (stream, _),
            tarfile.open(fileobj=cast(IO[bytes], Counted(stream, most)), mode="r:") as tar,
        ):
            for number, member in enumerate(tar):
                if number >= limits.MEMBERS:
                    raise DataError(f"It has more than {limits.MEMBERS:,} entries.")
                if member.name in left:
                    _extract_one(tar, member, left.pop(member.name), folder, source)
                elif member.name in {f"{source.folder}/{file}" for file in source.files}:
                    raise DataError(f"It has {member.name} twice.")
            if left:
                raise DataError(f"It has no {', '.join(left)}.")
    except (DataError, FileFormatError, OSError) as error:
        raise DataError(f"Cannot unpack {shown(archive)}: {clause(error)}.") from error


def _extract_one(
    tar: tarfile.TarFile, member: tarfile.TarInfo, file: str, folder: Path, source: CifarSource
) -> None:
    expected = _size(file, source)
    stream = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if stream is None or member.size != expected:
        raise DataError(
            f"{member.name} in the archive should be a file of {expected:,} bytes, not {member.size:,}."
        )
    with writing(folder / file) as out:
        shutil.copyfileobj(stream, out, CHUNK)
        if out.tell() != expected:
            raise DataError(f"{member.name} is cut short.")


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
        found = as_file(path).stat().st_size
        content = np.fromfile(path, np.uint8, expected) if found == expected else np.empty(0, np.uint8)
    except (OSError, MemoryError) as error:
        raise DataError(f"Cannot read {shown(path)}: {clause(error)}.") from error
    if len(content) != expected:
        raise DataError(f"{shown(path)} should have {expected:,} bytes, not {found:,}.")
    records = content.reshape(-1, source.label_bytes + PIXELS)
    highest = int(records[:, source.label_bytes - 1].max(initial=0))
    if highest >= len(source.classes):
        raise DataError(
            f"{shown(path)} should hold labels below {len(source.classes)}, not {highest}: it is no"
            f" {source.name}."
        )
    return records
