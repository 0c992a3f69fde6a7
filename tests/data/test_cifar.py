from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from prunus.data import load
from prunus.data.cifar import CIFAR10, CIFAR100, CifarSource, extract, find, load_cifar
from prunus.errors import DataError

if TYPE_CHECKING:
    from tests.data.conftest import Server

COUNT = 4


def tiny(source: CifarSource, **changes: str) -> CifarSource:
    """The same set with four images per file."""
    return dataclasses.replace(source, records=dict.fromkeys(source.files, COUNT), **changes)  # type: ignore[arg-type]


def contents(source: CifarSource) -> dict[str, bytes]:
    """Files of random pixels whose classes count up and whose other label bytes are 250."""
    generator = np.random.default_rng(0)
    found = {}
    for file in source.files:
        records = generator.integers(0, 256, (COUNT, source.label_bytes + 3072), dtype=np.uint8)
        records[:, : source.label_bytes] = 250
        records[:, source.label_bytes - 1] = np.arange(COUNT)
        found[file] = records.tobytes()
    return found


def archive(members: dict[str, bytes | str]) -> bytes:
    """A tar.gz of files (bytes) and symbolic links (str)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def write(folder: Path, source: CifarSource) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents(source).items():
        (folder / file).write_bytes(content)


@pytest.mark.parametrize("source", [CIFAR10, CIFAR100], ids=lambda source: source.name)
@pytest.mark.parametrize("place", ["", "{name}", "{folder}", "{name}/{folder}"])
def test_every_layout_is_read(tmp_path: Path, source: CifarSource, place: str) -> None:
    write(tmp_path / place.format(name=source.name, folder=source.folder), tiny(source))
    data = load_cifar(tiny(source), tmp_path, download=False)
    assert data.test.labels.tolist() == list(range(COUNT))
    assert len(data.train) == COUNT * len(source.train)
    raw = contents(tiny(source))[source.test[0]]
    red_of_row_1_column_2 = raw[source.label_bytes + 32 + 2]
    assert int(data.test.images[0, 0, 1, 2]) == red_of_row_1_column_2
    blue_of_last_pixel = raw[-1]
    assert int(data.test.images[-1, 2, 31, 31]) == blue_of_last_pixel


def test_the_published_sizes_and_names() -> None:
    assert sum(CIFAR10.records.values()) == sum(CIFAR100.records.values()) == 60_000
    assert (len(CIFAR10.classes), len(set(CIFAR100.classes))) == (10, 100)
    assert list(CIFAR100.classes) == sorted(CIFAR100.classes)


@pytest.mark.parametrize("change", [-1, -3073, 5])
def test_wrong_sizes_are_named(tmp_path: Path, change: int) -> None:
    source = tiny(CIFAR10)
    write(tmp_path, source)
    path = tmp_path / "data_batch_3.bin"
    path.write_bytes((path.read_bytes() + b"x" * 5)[: COUNT * 3073 + change])
    with pytest.raises(
        DataError, match=rf"data_batch_3\.bin should have 12,292 bytes, not {12_292 + change:,}"
    ):
        load_cifar(source, tmp_path, download=False)


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    source = tiny(CIFAR10)
    write(tmp_path, source)
    path = tmp_path / "test_batch.bin"
    path.write_bytes(b"\x0b" + path.read_bytes()[1:])
    with pytest.raises(DataError, match=r"test_batch\.bin should hold labels below 10, not 11"):
        load_cifar(source, tmp_path, download=False)


def test_absent_files_without_download_name_the_places(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no cifar100, binary version \(train\.bin, test\.bin\), in any of .*cifar100"
    ):
        load("cifar100", tmp_path, download=False)


def test_the_archive_is_downloaded_unpacked_and_removed(server: Server, tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {
        f"{CIFAR10.folder}/{name}": content for name, content in contents(CIFAR10).items()
    }
    body = archive({"../evil.txt": b"evil", f"{CIFAR10.folder}/readme.html": b"hello", **members})
    server.files["cifar-10-binary.tar.gz"] = body
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    source = tiny(CIFAR10, url=server.url + "cifar-10-binary.tar.gz", md5=md5)
    root = tmp_path / "root"
    data = load_cifar(source, root)
    assert len(data.train) == 5 * COUNT
    assert [path.name for path in root.iterdir()] == [CIFAR10.folder]
    assert {path.name for path in (root / CIFAR10.folder).iterdir()} == set(CIFAR10.files)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    load_cifar(source, root)
    assert server.requests == ["cifar-10-binary.tar.gz"]


@pytest.mark.parametrize("case", ["link", "size", "absent", "garbage", "cut"])
def test_bad_archives_are_named_and_write_nothing_wrong(tmp_path: Path, case: str) -> None:
    source = tiny(CIFAR100)
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * COUNT * 3074)
    train, test = (f"{source.folder}/{name}" for name in source.files)
    whole = b"\x00" * COUNT * 3074
    members: dict[str, bytes | str] = {train: whole, test: whole}
    if case == "link":
        members[test] = str(secret)
    elif case == "size":
        members[test] = b"short"
    elif case == "absent":
        del members[test]
    content = archive(members)
    if case == "garbage":
        content = b"no archive"
    elif case == "cut":
        content = archive({train: os.urandom(COUNT * 3074), test: whole})[:9000]
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"test\.bin|Cannot unpack .*archive\.tar\.gz"):
        extract(path, tmp_path / "out", source)
    assert find(source, tmp_path / "out") is None
    assert all(path.name == "train.bin" for path in (tmp_path / "out").iterdir())


def test_real_cifar10() -> None:
    root = Path(os.environ.get("PRUNUS_DATA", "/nonexistent"))
    if find(CIFAR10, root) is None:
        pytest.skip("PRUNUS_DATA names no folder with CIFAR-10, binary version")
    data = load("cifar10", root, download=False)
    assert (len(data.train), len(data.test), data.image_shape) == (50_000, 10_000, (3, 32, 32))
    assert torch.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.test.images.float().mean().item() / 255 == pytest.approx(sum(data.mean) / 3, abs=0.01)
