"""Every public function takes a path as text or as an object, and says in one sentence
what is wrong with it.
"""

from __future__ import annotations

import inspect
import os
import struct
import sys
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from prunus import storage
from prunus.data import cifar, download, folder, idx, load, picture_sets, pictures
from prunus.data.cifar import CIFAR10, extract, load_cifar
from prunus.data.download import fetch
from prunus.data.folder import load_folder
from prunus.data.idx import MNIST, load_idx, read_idx
from prunus.data.paths import shown
from prunus.data.picture_sets import is_picture_set, load_pictures
from prunus.data.pictures import examples, open_picture
from prunus.data.raster import Raster
from prunus.errors import DataError, PrunusError
from prunus.segmentation import files

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

Read = Callable[[typing.Any], object]
FOLDERS: dict[str, Read] = {
    "load_folder": load_folder,
    "load_pictures": load_pictures,
    "examples": examples,
    "load": load,
}
ROOTS: dict[str, Read] = {
    "load_idx": lambda path: load_idx(MNIST, path, False),
    "load_cifar": lambda path: load_cifar(CIFAR10, path, False),
}
FILES: dict[str, Read] = {
    "open_picture": open_picture,
    "Raster": Raster,
    "read_idx": read_idx,
    "extract": lambda path: extract(
        path, "/proc/none", replace(CIFAR10, records=dict.fromkeys(CIFAR10.records, 1))
    ),
}


class Elsewhere:
    """A path of a class of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize(
    "form", [str, Path, Elsewhere, lambda path: PurePosixPath(path)], ids=["text", "path", "own", "pure"]
)
@pytest.mark.parametrize("name", FOLDERS | ROOTS | FILES)
def test_a_missing_path_is_named_however_it_is_written(
    tmp_path: Path, name: str, form: Callable[[Path], object]
) -> None:
    missing = tmp_path / "none"
    with pytest.raises(DataError, match="none"):
        (FOLDERS | ROOTS | FILES)[name](form(missing))


@pytest.mark.parametrize("name", FOLDERS | FILES)
def test_a_file_for_a_folder_and_a_folder_for_a_file_are_told(tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with pytest.raises(
        DataError,
        match=r"is a file.* folder is needed" if name in FOLDERS else r"is a folder; a file is needed",
    ):
        (FOLDERS | FILES)[name](str(file if name in FOLDERS else tmp_path))


@pytest.mark.parametrize("name", FOLDERS | ROOTS | FILES)
@pytest.mark.parametrize(
    "path",
    ["a\0b", "\udcff", "x" * 300, "a\nb\x1b[31m", "/dev/null/x"],
    ids=["zero", "half", "long", "lines", "below a file"],
)
def test_names_that_are_none_are_told_in_one_printable_line(tmp_path: Path, name: str, path: str) -> None:
    with pytest.raises(DataError) as caught:
        (FOLDERS | ROOTS | FILES)[name](f"{tmp_path}/{path}")
    text = str(caught.value)
    assert text.isprintable() and text.endswith(".") and not text.endswith("..")
    text.encode()


@pytest.mark.parametrize("path", [3, None, b"bytes", ["a"]], ids=repr)
@pytest.mark.parametrize("name", FOLDERS | ROOTS | FILES)
def test_what_is_no_path_is_told(name: str, path: object) -> None:
    with pytest.raises(PrunusError, match=r"(text or a path object|text or a PathLike), not"):
        (FOLDERS | ROOTS | FILES)[name](path)


@pytest.mark.parametrize("name", FILES)
def test_links_in_circles_pipes_and_devices_are_not_read(tmp_path: Path, name: str) -> None:
    loop, pipe = tmp_path / "loop.png", tmp_path / "pipe.png"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    for path in (loop, pipe, Path("/dev/zero")):
        with pytest.raises(DataError, match="no regular file"):
            FILES[name](path)


def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a folder without permissions, which does not keep out everybody who runs tests."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("os.scandir", refuse)
    monkeypatch.setattr("os.listdir", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("images", "masks", "train", "train/a"):
        (tmp_path / kind).mkdir()
    with monkeypatch.context() as patched:
        refusing(tmp_path, patched)
        for read in (load_folder, examples):
            with pytest.raises(DataError, match=r"The folder .* cannot be listed \(Permission denied\)"):
                read(tmp_path)
    walk = os.walk

    def walking(top: Path, **options: typing.Any) -> object:
        options["onerror"](PermissionError(13, "Permission denied", f"{top}/inner"))
        return walk(top)

    monkeypatch.setattr("os.walk", walking)
    with pytest.raises(DataError, match=r"The folder .*train/a/inner cannot be listed"):
        load_folder(tmp_path)


def test_is_picture_set_takes_any_path(tmp_path: Path) -> None:
    for kind in ("images", "gt"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    assert (
        is_picture_set(str(tmp_path))
        and is_picture_set(tmp_path)
        and not is_picture_set(str(tmp_path / "a\0"))
    )


def test_a_download_goes_to_a_path_as_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot download"):
        fetch("nothing://x", str(tmp_path / "a"), "0" * 32)
    with pytest.raises(DataError, match="Cannot write to"):
        fetch("http://127.0.0.1:9/x", str(tmp_path / "a\0" / "b"), "0" * 32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "room", [cifar, download, folder, idx, picture_sets, pictures, storage, files], ids=lambda m: m.__name__
)
def test_no_public_function_asks_for_a_path_object_alone(room: object) -> None:
    for name, function in inspect.getmembers(room, inspect.isfunction):
        if name.startswith("_") or not function.__module__.startswith("prunus"):
            continue
        for parameter in inspect.signature(function).parameters.values():
            assert parameter.annotation not in ("Path", "Path | None") or function.__module__ in INNER, (
                f"{function.__module__}.{name}"
            )


INNER = (
    *(
        "prunus.data.layout prunus.data.paths prunus.data.decode prunus.data.unpack prunus.data.pictures "
        "prunus.data.raster prunus._foundation.atomic"
    ).split(),
)  # whose callers have looked at the path


def test_printable_names_are_shown_as_they_are() -> None:
    assert shown("/data/Büro/図.png") == "/data/Büro/図.png"
    assert shown("a\nb\udcff") == "a\\nb\\udcff"


def write(path: Path, size: tuple[int, int] = (4, 4), mode: str = "L", colour: object = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size, colour)
    if mode == "P":
        image.putpalette(bytes(range(24)))
    image.save(path)


def test_folders_and_links_named_like_pictures(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        write(tmp_path / "classes" / name)
        write(tmp_path / "set" / "images" / name.replace("/", ""))
        write(tmp_path / "set" / "masks" / name.replace("/", ""))
    (tmp_path / "classes" / "a" / "x.png").mkdir()
    (tmp_path / "classes" / "b" / "again").symlink_to("..")
    data = load_folder(tmp_path / "classes")
    assert len(data.train) + len(data.test) == 4
    (tmp_path / "classes" / "a" / "loop.png").symlink_to("loop.png")  # or to a picture that is not here
    with pytest.raises(DataError, match=r"a/loop\.png is a link to nowhere"):
        load_folder(tmp_path / "classes")
    (tmp_path / "set" / "images" / "x.png").mkdir()
    write(tmp_path / "set" / "masks" / "x.png")
    with pytest.raises(DataError, match=r"images/x\.png is a folder"):
        load_pictures(tmp_path / "set")
    (tmp_path / "set" / "images" / "x.png").rmdir()
    (tmp_path / "set" / "images" / "x.png").symlink_to("x.png")
    with pytest.raises(DataError, match=r"images/x\.png is no regular file"):
        load_pictures(tmp_path / "set")


@pytest.mark.skipif(sys.platform != "linux", reason="only here may a name hold any bytes")
def test_names_of_any_characters(tmp_path: Path) -> None:
    for name in ("line\nbreak", "図形", "\udcff"):
        write(tmp_path / "set" / "images" / f"{name}.png")
        write(tmp_path / "set" / "masks" / f"{name}.png")
    assert len(examples(tmp_path / "set")) == 3
    (tmp_path / "set" / "masks" / "\udcff.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"\\udcff\.png is no readable picture") as caught:
        examples(tmp_path / "set")
    str(caught.value).encode()
    for name in ("図形", "b\n"):
        write(tmp_path / "classes" / name / "1.png")
    with pytest.raises(DataError, match=r"b\\n has a name with characters that cannot be printed"):
        load_folder(tmp_path / "classes")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "1"])
def test_masks_of_any_mode_are_one_plane_of_classes(tmp_path: Path, mode: str) -> None:
    colour: dict[str, object] = {"RGB": (3, 3, 3), "RGBA": (3, 3, 3, 255), "LA": (3, 255), "1": 255}
    write(tmp_path / "a.png", mode=mode, colour=colour.get(mode, 3))
    assert open_picture(tmp_path / "a.png", grey=True).read(0, 0, 4, 4).tolist() == [
        [[255 if mode == "1" else 3] * 4] * 4
    ]


def test_a_coloured_mask_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.png", mode="RGB")
    write(tmp_path / "masks" / "a.png", mode="RGB", colour=(255, 0, 0))
    with pytest.raises(
        DataError, match=r"The mask .*a\.png is coloured \(RGB\): a mask has one plane of class indices"
    ):
        examples(tmp_path)


def test_labels_out_of_range_and_wrong_counts_name_the_file(tmp_path: Path) -> None:
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(
            b"\0\0\x08\x03" + struct.pack(">III", 2, 3, 3) + bytes(18)
        )
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(
            b"\0\0\x08\x01" + struct.pack(">I", 2) + bytes(2)
        )
    assert load_idx(MNIST, str(tmp_path), False).image_shape == (1, 3, 3)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    for content, text in (
        (struct.pack(">I", 2) + b"\0\x0a", "labels below 10, not 10"),
        (struct.pack(">I", 3) + bytes(3), "2 labels"),
    ):
        labels.write_bytes(b"\0\0\x08\x01" + content)
        with pytest.raises(DataError, match=f"t10k-labels-idx1-ubyte should hold {text}"):
            load_idx(MNIST, tmp_path, False)
    labels.write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 2) + bytes(2))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(
        b"\0\0\x08\x03" + struct.pack(">III", 2, 4, 3) + bytes(24)
    )
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.* \(4, 3\).*\(3, 3\)"):
        load_idx(MNIST, tmp_path, False)
