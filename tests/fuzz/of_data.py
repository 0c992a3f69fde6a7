"""Good files of data, and how they are read."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from tests.fuzz.of_networks import LENGTH


def idx(folder: Path, pack: Callable[[bytes], bytes] = bytes) -> None:
    suffix = "" if pack is bytes else ".gz"
    for part, count in (("train", 6), ("t10k", 3)):
        pixels, labels = bytes(i % 251 for i in range(count * LENGTH**2)), bytes(i % 10 for i in range(count))
        images = b"\0\0\x08\x03" + struct.pack(">III", count, LENGTH, LENGTH) + pixels
        (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(images))
        (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(
            pack(b"\0\0\x08\x01" + struct.pack(">I", count) + labels)
        )


def read_idx(folder: Path) -> Any:
    from prunus.data.idx import MNIST, load_idx

    return samples(load_idx(MNIST, folder, False))


def cifar(folder: Path) -> None:
    for number, file in enumerate(few().files):
        (folder / file).write_bytes(bytes((i * 7 + number) % 10 for i in range(2 * 3073)))


def few() -> Any:
    """CIFAR-10 with two pictures a file."""
    from prunus.data.cifar import CIFAR10

    return replace(CIFAR10, records=dict.fromkeys(CIFAR10.records, 2))


def read_cifar(folder: Path) -> Any:
    from prunus.data.cifar import load_cifar

    return samples(load_cifar(few(), folder, False))


def archive(folder: Path) -> None:
    cifar(folder)
    with tarfile.open(folder / "set.tar.gz", "w:gz") as tar:
        for file in few().files:
            tar.add(folder / file, f"{few().folder}/{file}")
            (folder / file).unlink()


def read_archive(folder: Path) -> Any:
    from prunus.data.cifar import extract

    extract(folder / "set.tar.gz", folder / "out", few())
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def samples(data: Any) -> Any:
    return [data.train.images, data.train.labels, data.test.images, data.test.labels]


def picture(folder: Path, suffix: str) -> None:
    from PIL import Image

    pixels = np.arange(3 * LENGTH**2, dtype=np.uint8).reshape(LENGTH, LENGTH, 3)
    Image.fromarray(pixels).save(folder / f"picture{suffix}")


def read_picture(path: Path) -> Any:
    from prunus.data.pictures import open_picture

    picture = open_picture(path)
    return picture.read(0, 0, *picture.shape[1:])


def classes(folder: Path) -> None:
    from PIL import Image

    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (LENGTH, LENGTH), (1, 2, 3)).save(folder / "set" / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (LENGTH, 5), (9, 9, 9)).save(folder / "set" / "a" / "0.jpg", exif=exif)


def read_classes(folder: Path) -> Any:
    from prunus.data.folder import load_folder

    return samples(load_folder(folder / "set", LENGTH))


def masks(folder: Path) -> None:
    from PIL import Image

    for name in "ab":
        for kind, mode, colour in (("images", "RGB", (9, 8, 7)), ("masks", "L", 1)):
            (folder / kind).mkdir(exist_ok=True)
            Image.new(mode, (LENGTH, LENGTH), colour).save(folder / kind / f"{name}.png")


def read_masks(folder: Path) -> Any:
    from prunus.data.picture_sets import load_pictures

    found = load_pictures(folder)
    return [
        found.classes,
        found.mean,
        [example.picture.read(0, 0, LENGTH, LENGTH) for example in found.train],
    ]


def raster(folder: Path) -> None:
    import rasterio

    options = {
        "driver": "GTiff",
        "height": 64,
        "width": 64,
        "count": 1,
        "dtype": "uint8",
        "compress": "deflate",
        "tiled": True,
    }
    with rasterio.open(
        folder / "raster.tif", "w", blockxsize=32, blockysize=32, transform=(0.3, 0, 1, 0, -0.3, 1), **options
    ) as file:
        file.write(np.arange(4096, dtype=np.uint8).reshape(1, 64, 64))


def read_raster(folder: Path) -> Any:
    from prunus.data.raster import Raster

    raster = Raster(folder / "raster.tif")
    return [raster.shape, raster.read(0, 0, 40, 64)]


def segmented(folder: Path) -> Any:
    from prunus.segmentation.files import segment_file

    return segment_file(
        nn.Conv2d(3, 1, 1),
        folder / "picture.png",
        folder / "mask.png",
        folder / "look.png",
        ((0.5,) * 3, (0.5,) * 3),
        tile=16,
        overlap=2,
    )
