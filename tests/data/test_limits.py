"""What reading costs at most: memory in proportion to what a file really holds, stated limits, and errors
that name the file.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from prunus.data import limits
from prunus.data.cifar import CIFAR10, CifarSource, extract
from prunus.data.digits import load_digits
from prunus.data.folder import load_folder
from prunus.data.idx import read_idx
from prunus.data.picture_sets import load_pictures
from prunus.data.pictures import examples, open_picture
from prunus.data.raster import Raster
from prunus.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

PLACE = {
    "transform": (0.3, 0.0, 1.0, 0.0, -0.3, 1.0)
}  # a raster that lies somewhere is written without a warning


def header(*sizes: int) -> bytes:
    return bytes((0, 0, 8, len(sizes))) + struct.pack(f">{len(sizes)}I", *sizes)


def memory(action: Callable[[], object]) -> int:
    """The most bytes that Python and numpy held at once."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sizes", [(2**32 - 1,), (2**31, 2**31, 2**31), (1 << 16, 1 << 16, 2)], ids=str)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_headers_sizes_are_not_believed(
    tmp_path: Path, sizes: tuple[int, ...], pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "idx"
    path.write_bytes(pack(header(*sizes) + bytes(100)))
    assert memory(lambda: read_idx(path)) < 1 << 22
    with pytest.raises(DataError, match=r"idx states a shape of .* not "):
        read_idx(path)


def test_no_more_is_unpacked_than_the_header_says(tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = (
        packer.compress(header(10, 8, 8))
        + b"".join(packer.compress(bytes(1 << 20)) for _ in range(50))
        + packer.flush()
    )
    path = tmp_path / "bomb.gz"
    path.write_bytes(bomb)
    assert memory(lambda: read_idx(path)) < 1 << 22
    with pytest.raises(DataError, match=r"should have 656 bytes \(unpacked\), not more"):
        read_idx(path)


def test_a_promise_that_is_not_kept_costs_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "short.gz"
    path.write_bytes(
        gzip.compress(header(400, 1000, 1000) + bytes(3 << 20) + np.random.default_rng(0).bytes(1 << 19))
    )
    assert memory(lambda: read_idx(path)) < 20 << 20


def test_an_idx_file_may_come_in_members_and_must_be_whole(tmp_path: Path) -> None:
    content = header(2, 3) + bytes(range(6))
    path = tmp_path / "members.gz"
    path.write_bytes(gzip.compress(content[:7]) + gzip.compress(content[7:]))
    assert read_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    whole = gzip.compress(content)
    for damaged in (
        whole[:-1],
        whole[:-8] + bytes(4) + whole[-4:],
        whole + b"more",
        whole + gzip.compress(b"x"),
        whole[:-4] + bytes(4),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"members\.gz"):
            read_idx(path)


@pytest.mark.parametrize("axes", [0, 9, 255])
def test_idx_files_of_no_or_many_axes_are_none(tmp_path: Path, axes: int) -> None:
    path = tmp_path / "idx"
    path.write_bytes(bytes((0, 0, 8, axes)) + struct.pack(">I", 1) * axes + b"x")
    with pytest.raises(DataError, match=f"a shape of {axes} axes"):
        read_idx(path)


def test_a_limit_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "idx"
    path.write_bytes(header(3) + bytes(3))
    assert len(read_idx(str(path))) == 3
    monkeypatch.setattr(limits, "IDX_BYTES", 2)
    with pytest.raises(DataError, match="2 bytes is the limit"):
        read_idx(path)


SMALL = replace(CIFAR10, records=dict.fromkeys(CIFAR10.records, 2))
RECORD = bytes(2 * 3073)


def entry(name: str, content: bytes, **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def archive(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=form) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return path


def whole(source: CifarSource) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [entry(f"{source.folder}/{file}", RECORD) for file in source.files]


HOSTILE: dict[str, tuple[Callable[[], list[tuple[tarfile.TarInfo, bytes]]], str]] = {
    "a large entry before": (
        lambda: [entry("before", bytes(8 << 20)), *whole(SMALL)],
        "unpacks to more than 1.1 MB",
    ),
    "a large entry behind": (
        lambda: [*whole(SMALL), entry("behind", bytes(8 << 20))],
        "unpacks to more than 1.1 MB",
    ),
    "a name twice": (lambda: [*whole(SMALL), whole(SMALL)[0]], "twice"),
    "a missing file": (lambda: whole(SMALL)[1:], "has no cifar-10-batches-bin/data_batch_1.bin"),
    "a link": (
        lambda: [entry(whole(SMALL)[0][0].name, b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
        "should be a file of",
    ),
    "a hole": (
        lambda: [entry(whole(SMALL)[0][0].name, RECORD, type=tarfile.GNUTYPE_SPARSE)],
        "should be a file of",
    ),
    "a pax hole": (
        lambda: [entry(whole(SMALL)[0][0].name, RECORD, pax_headers={"GNU.sparse.map": "0,9,99999,9"})],
        "should be a file of",
    ),
    "a long attribute": (
        lambda: [entry("a", b"", pax_headers={"comment": "x" * (2 << 20)}), *whole(SMALL)],
        "a description of",
    ),
    "many entries": (lambda: [entry(str(number), b"") for number in range(1025)], "more than 1,024 entries"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_in_little_memory(tmp_path: Path, case: str) -> None:
    entries, text = HOSTILE[case]
    path = archive(tmp_path / "set.tar.gz", entries())
    assert memory(lambda: extract(path, tmp_path / "out", SMALL)) < 8 << 20
    with pytest.raises(DataError, match=rf"Cannot unpack .*set\.tar\.gz: .*{text}") as caught:
        extract(str(path), str(tmp_path / "out"), SMALL)
    assert str(caught.value).count(".tar.gz") == 1
    assert not [file for file in (tmp_path / "out").iterdir() if file.name.startswith(".")]


def test_a_chain_of_attributes_is_refused(tmp_path: Path) -> None:
    one = tarfile.TarInfo("a").create_pax_global_header({"comment": "x"})
    links = tarfile.TarInfo("a")
    links.type, links.size = tarfile.GNUTYPE_LONGNAME, 2
    block = links.tobuf(tarfile.GNU_FORMAT) + b"b\0".ljust(512, b"\0")
    path = tmp_path / "chain.tar.gz"
    path.write_bytes(gzip.compress(one + block * 5000))
    with pytest.raises(DataError, match="Cannot unpack"):
        extract(path, tmp_path / "out", replace(SMALL, records=dict.fromkeys(SMALL.records, 2000)))


def test_a_plain_archive_is_read_in_any_order(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "set.tar.gz", [entry("readme", b"words"), *reversed(whole(SMALL))], tarfile.GNU_FORMAT
    )
    extract(path, tmp_path / "out", SMALL)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(SMALL.files)


def test_the_embedded_digits_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prunus.data.digits.SHA256", "0" * 64)
    with pytest.raises(DataError, match=r"digits\.npz\) are damaged"):
        load_digits()


def tiff(width: int, height: int) -> bytes:
    tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, width * height & 0xFFFFFFFF),
    ]
    return (
        b"II*\0"
        + struct.pack("<IH", 8, len(tags))
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        + bytes(4)
    )


def test_a_set_that_does_not_fit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    with pytest.raises(
        DataError,
        match=r"4 images of 1 x 100,000 x 100,000 pixels need 40\.0 GB of memory, and 17\.2 GB is the limit",
    ):
        load_folder(tmp_path, image_size=100_000)
    monkeypatch.setattr(limits, "MEMORY", 1 << 62)
    with pytest.raises(DataError, match="more than there is"):
        load_folder(tmp_path, image_size=1 << 29)


def test_pictures_that_do_not_fit_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in ((folder, name) for folder in ("images", "masks") for name in "ab"):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("L", (4, 4), 1).save(tmp_path / folder / f"{name}.png")
    assert len(examples(tmp_path)) == 2
    monkeypatch.setattr(limits, "MEMORY", 63)
    with pytest.raises(
        DataError, match=r"2 of the 2 pictures of .* take 64 bytes of memory, and 63 bytes is the limit"
    ):
        examples(tmp_path)


def test_a_large_tiff_is_read_by_window(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    options = {
        "driver": "GTiff",
        "height": 10_000,
        "width": 10_000,
        "count": 1,
        "dtype": "uint8",
        "tiled": True,
        "compress": "deflate",
        **PLACE,
    }
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        with rasterio.open(tmp_path / kind / "a.tif", "w", sparse_ok=True, **options) as file:
            file.write(np.full((1, 64, 64), 255, np.uint8), window=((9000, 9064), (9000, 9064)))
    (found,) = examples(tmp_path)
    assert isinstance(found.picture, Raster) and found.picture.shape == (1, 10_000, 10_000)
    assert found.mask is not None and found.mask.read(8999, 8999, 2, 2).tolist() == [[[0, 0], [0, 1]]]
    for kind in ("images", "masks"):
        (tmp_path / kind).rename(tmp_path / f"class of {kind}")
    with pytest.raises(DataError, match="10,000 x 10,000 pixels, and 67,108,864"):
        load_folder(tmp_path)


def test_rasters_beyond_the_limits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rasterio", reason="rasterio is not installed")
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(1 << 17, 1 << 16))
    with pytest.raises(DataError, match=r"a\.tif has 131,072 x 65,536 pixels"):
        open_picture(path)
    path.write_bytes(tiff(1 << 18, 1 << 8))
    with pytest.raises(DataError, match="131,072 a side"):
        open_picture(path)


def test_a_raster_that_is_cut_short_is_named_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    for kind, name in ((kind, name) for kind in ("images", "masks") for name in "ab"):
        (tmp_path / kind).mkdir(exist_ok=True)
        path = tmp_path / kind / f"{name}.tif"
        pixels = np.random.default_rng(0).integers(0, 3, (1, 512, 512), dtype=np.uint8)
        with rasterio.open(
            path, "w", driver="GTiff", height=512, width=512, count=1, dtype="uint8", **PLACE
        ) as file:
            file.write(pixels)
        path.write_bytes(path.read_bytes()[:200_000])
    monkeypatch.setattr("prunus.data.pictures.WHOLE", 100)
    raster = open_picture(tmp_path / "images" / "a.tif")
    assert isinstance(raster, Raster) and int(raster.read(0, 0, 16, 16).max()) == 2
    with pytest.raises(DataError, match=r"images/a\.tif is no readable raster"):
        raster.read(500, 0, 12, 512)
    with pytest.raises(DataError, match=r"masks/[ab]\.tif is no readable raster"):
        load_pictures(tmp_path)


def test_a_raster_of_other_bits_or_drivers_is_refused(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    path = tmp_path / "deep.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=9, width=9, count=1, dtype="float32", **PLACE
    ) as file:
        file.write(np.zeros((1, 9, 9), np.float32))
    with pytest.raises(DataError, match=r"deep\.tif has float32 pixels"):
        Raster(path)
    path.write_text('<VRTDataset rasterXSize="9" rasterYSize="9"></VRTDataset>')
    with pytest.raises(DataError, match=r"deep\.tif is no readable raster"):
        Raster(str(path))


def test_memory_of_a_folder_is_that_of_its_images(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.effect_noise((40, 30), 90).save(tmp_path / f"{name}.png")
    data = load_folder(tmp_path)
    assert data.train.images.is_contiguous() and data.image_shape == (1, 30, 40)
    every = torch.cat([data.train.images, data.test.images])
    for path in tmp_path.rglob("*.png"):
        assert any(np.array_equal(image[0], np.array(Image.open(path))) for image in every)
