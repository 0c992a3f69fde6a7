from __future__ import annotations

import dataclasses
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from prunus.data import load
from prunus.data.idx import FASHION_MNIST, MNIST, find, load_idx, read_idx
from prunus.errors import DataError

ROWS = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_set(folder: Path, separator: str = "-", suffix: str = "", labels: list[int] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.array([7, 0, 9] if labels is None else labels)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", ROWS), ("labels-idx1", numbers)):
            content = idx_bytes(array)
            path = folder / f"{part}-{kind}{separator}ubyte{suffix}"
            path.write_bytes(gzip.compress(content) if suffix else content)


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("folder", ["", "mnist", "MNIST/raw", "MNIST"])
def test_every_usual_layout_is_read(tmp_path: Path, folder: str, separator: str, suffix: str) -> None:
    write_set(tmp_path / folder, separator, suffix)
    data = load("mnist", tmp_path, download=False)
    assert torch.equal(data.train.images, torch.from_numpy(ROWS).unsqueeze(1))
    assert data.test.labels.tolist() == [7, 0, 9]
    assert data.mean == (0.1307,)


def test_fashion_mnist_prefers_its_own_folder(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_set(tmp_path / "FashionMNIST" / "raw", labels=[1, 2, 3])
    data = load("fashion-mnist", tmp_path, download=False)
    assert data.train.labels.tolist() == [1, 2, 3]
    assert data.classes[9] == "Ankle boot"


def test_absent_files_without_download_name_the_places(tmp_path: Path) -> None:
    write_set(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte").unlink()
    assert find(MNIST, tmp_path) is None
    with pytest.raises(DataError, match=r"no mnist .*MNIST/raw"):
        load("mnist", tmp_path, download=False)


@pytest.mark.parametrize("length", [0, 3, 10, 16, 75])
def test_truncated_files_are_named_with_their_sizes(tmp_path: Path, length: int) -> None:
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(ROWS)[:length])
    expected = "76 bytes.* not " + str(length) if length >= 16 else "is no idx file"
    with pytest.raises(DataError, match=f"images .*{expected}"):
        read_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(ROWS) + b"x", "76 bytes.* not 77"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "not 16"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "no idx file of bytes: it starts with 00 00 0d 01"),
        (b"<html>404</html>", "no idx file"),
        (gzip.compress(idx_bytes(ROWS), mtime=0)[:-9], "Cannot read"),
        (b"\x1f\x8bgarbage", "Cannot read"),
    ],
)
def test_garbage_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([1, 2], r"should hold 3 labels, not \(2,\)"), ([1, 2, 10], "should hold labels below 10, not 10")],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: list[int], message: str) -> None:
    write_set(tmp_path, labels=labels)
    with pytest.raises(DataError, match=f"train-labels-idx1-ubyte {message}"):
        load("mnist", tmp_path, download=False)


def test_images_of_another_rank_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(ROWS.reshape(3, 20)))
    with pytest.raises(DataError, match=r"should hold images .* not \(3, 20\)"):
        load("mnist", tmp_path, download=False)


def test_an_unreadable_server_leaves_a_clear_error(tmp_path: Path) -> None:
    source = dataclasses.replace(FASHION_MNIST, url="http://127.0.0.1:9/")
    with pytest.raises(DataError, match=r"Cannot download http://127\.0\.0\.1:9/train-images"):
        load_idx(source, tmp_path)
    assert list((tmp_path / "fashion-mnist").iterdir()) == []


def test_real_mnist() -> None:
    root = Path(os.environ.get("PRUNUS_DATA", "/nonexistent"))
    if find(MNIST, root) is None:
        pytest.skip("PRUNUS_DATA names no folder with MNIST")
    data = load("mnist", root, download=False)
    assert (len(data.train), len(data.test), data.image_shape) == (60_000, 10_000, (1, 28, 28))
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]


@pytest.mark.parametrize(
    "name", ["{part}-{kind}-ubyte", "emnist-letters-{part}-{kind}-ubyte.gz", "{part}-{kind}.ubyte"]
)
@pytest.mark.parametrize("test", ["t10k", "test", None])
def test_a_set_of_ones_own_has_the_classes_of_its_labels(tmp_path: Path, name: str, test: str | None) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for part, count in (("train", 52), (test, 26)):
        if part is None:
            continue
        pixels, labels = draw.integers(0, 256, (count, 6, 5)), np.arange(count) % 26
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            path = folder / name.format(part=part, kind=kind)
            path.write_bytes(gzip.compress(idx_bytes(array)) if path.suffix == ".gz" else idx_bytes(array))
    data = load(folder)
    assert (data.name, len(data.classes), data.image_shape) == ("letters", 26, (1, 6, 5))
    assert (len(data.train), len(data.test)) == ((52, 26) if test else (26, 26))
    shares = data.train.images.double() / 255
    assert data.mean[0] == pytest.approx(float(shares.mean())) and data.std[0] == pytest.approx(
        float(shares.std(correction=0))
    )


def test_files_of_two_sets_in_a_folder_are_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "other-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="keep the files of one set in a folder"):
        load(tmp_path)


def test_validation_files_of_a_set_are_what_is_held_out(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    counts = {"train": 20, "val": 6, "t10k": 10}
    for part, count in counts.items():
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(draw.integers(0, 256, (count, 6, 5))))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(count) % 2))
    data = load(tmp_path)
    assert data.validation is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == list(counts.values())
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="holds t10k-images-idx3-ubyte, and no labels that belong to it"):
        load(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    without = load(tmp_path)
    assert without.validation is None and (len(without.train), len(without.test)) == (20, 6)
