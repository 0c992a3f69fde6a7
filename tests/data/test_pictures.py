"""Pictures and masks from folders: by name, by class, by window."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prunus.data import pictures
from prunus.data.pictures import IGNORED, examples, open_picture
from prunus.data.raster import Raster
from prunus.errors import DataError

PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.fromarray(pixels).save(path)


def scene(height: int = 40, width: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture with a bright rectangle, and its mask of 0 and 255."""
    draw = np.random.default_rng(seed)
    image, mask = (
        draw.integers(0, 80, (height, width, 3), dtype=np.uint8),
        np.zeros((height, width), np.uint8),
    )
    mask[8:30, 10:35] = 255
    image[mask > 0] += 150
    return image, mask


@pytest.mark.parametrize(
    ("images", "masks", "ending"),
    [("images", "masks", ""), ("images", "gt", ""), ("image", "label", ""), ("imgs", "masks", "_mask")],
)
def test_folders_are_read_by_name(tmp_path: Path, images: str, masks: str, ending: str) -> None:
    for name, seed in (("b", 1), ("a", 2)):
        image, mask = scene(seed=seed)
        save(tmp_path / images / f"{name}.png", image)
        save(tmp_path / masks / f"{name}{ending}.tif", mask)
        save(tmp_path / masks / f"{name}_vis.tif", mask)  # AIRS has pictures of its masks, too
    found = examples(tmp_path)
    assert [example.name for example in found] == ["a", "b"]
    assert found[0].picture.shape == (3, 40, 50) and found[0].mask is not None
    assert torch.equal(
        found[0].picture.read(3, 4, 5, 6), torch.from_numpy(scene(seed=2)[0]).permute(2, 0, 1)[:, 3:8, 4:10]
    )
    assert torch.equal(found[0].mask.read(0, 0, 40, 50)[0], torch.from_numpy(scene()[1] // 255))
    assert [example.mask for example in examples(tmp_path, masks=False)] == [None, None]


def test_class_indices_stay_as_they_are(tmp_path: Path) -> None:
    image, _ = scene()
    classes = np.random.default_rng(0).integers(0, 4, (40, 50), dtype=np.uint8)
    classes[0, 0] = IGNORED
    save(tmp_path / "images" / "a.png", image)
    save(tmp_path / "masks" / "a.png", classes)
    (found,) = examples(tmp_path)
    assert found.mask is not None and torch.equal(found.mask.read(0, 0, 40, 50)[0], torch.from_numpy(classes))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder of pictures: expected one of images, image, imgs"):
        examples(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="has no pictures"):
        examples(tmp_path)
    image, mask = scene()
    save(tmp_path / "images" / "a.png", image)
    with pytest.raises(DataError, match="no folder of masks"):
        examples(tmp_path)
    (tmp_path / "gt").mkdir()
    with pytest.raises(DataError, match=r"a\.png has no mask of its name"):
        examples(tmp_path)
    save(tmp_path / "gt" / "a.png", mask[:-1])
    with pytest.raises(DataError, match=r"has \(40, 50\) pixels, but its mask a\.png \(39, 50\)"):
        examples(tmp_path)
    (tmp_path / "gt" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"gt/a\.png is no readable picture"):
        examples(tmp_path)
    with pytest.raises(DataError, match="There is no picture"):
        open_picture(tmp_path / "b.png")
    PIL.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        open_picture(tmp_path / "deep.png")


def test_large_tiffs_are_read_by_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rasterio", reason="rasterio is not installed")
    image, mask = scene()
    save(tmp_path / "images" / "a.tif", image)
    save(tmp_path / "gt" / "a.tif", mask)
    whole = examples(tmp_path)[0]
    monkeypatch.setattr(pictures, "WHOLE", 100)
    windowed = examples(tmp_path)[0]
    assert isinstance(windowed.picture, Raster) and windowed.picture.shape == (3, 40, 50)
    assert whole.mask is not None and windowed.mask is not None
    for top, left, height, width in ((0, 0, 40, 50), (5, 7, 9, 11)):
        assert torch.equal(
            windowed.picture.read(top, left, height, width), whole.picture.read(top, left, height, width)
        )
        assert torch.equal(
            windowed.mask.read(top, left, height, width), whole.mask.read(top, left, height, width)
        )


@pytest.mark.parametrize("values", [(0,), (0, 255), (255,), (0, 1), (0, 1, 255), (0, 3, 7), (2, 255)])
@pytest.mark.parametrize("ignore", [IGNORED, 0, 3])
def test_classes_do_not_depend_on_how_a_mask_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: tuple[int, ...], ignore: int
) -> None:
    pytest.importorskip("rasterio", reason="rasterio is not installed")
    draw = np.random.default_rng(0)
    save(tmp_path / "images" / "a.tif", scene(20, 24)[0])
    save(tmp_path / "gt" / "a.tif", draw.choice(np.array(values, np.uint8), (20, 24)))
    masks = []
    for whole in (pictures.WHOLE, 100):
        monkeypatch.setattr(pictures, "WHOLE", whole)
        monkeypatch.setattr(pictures, "SIDE", 7)
        (found,) = examples(tmp_path, ignore=ignore)
        assert found.mask is not None and isinstance(found.picture, Raster) == (whole == 100)
        masks.append(found.mask.read(0, 0, 20, 24))
    assert torch.equal(*masks)


@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize(("kind", "suffix"), [("uint16", "png"), ("uint16", "tif"), ("int32", "tif")])
def test_masks_of_more_bits_hold_the_same_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: bool, kind: str, suffix: str
) -> None:
    """What labelling tools and `prunus segment` store in 16 bits is read; labels beyond 255 are told of."""
    if window:
        pytest.importorskip("rasterio", reason="rasterio is not installed")
        monkeypatch.setattr(pictures, "WHOLE", 100)
    labels = np.random.default_rng(0).integers(0, 4, (20, 24)).astype(kind)
    labels[0, :5] = (255, 65535, 7, 254, 0)
    file = tmp_path / f"a.{suffix}"
    save(file, labels)
    found = open_picture(file, grey=True).read(0, 0, 20, 24)
    assert found.dtype == torch.uint8
    assert np.array_equal(found[0].numpy(), np.where(labels == 65535, 255, labels))
    labels[3, 3] = 300
    save(file, labels)
    with pytest.raises(DataError, match=rf"a\.{suffix} has the label 300: labels are 0 to 255"):
        open_picture(file, grey=True).read(0, 0, 20, 24)


def test_several_planes_of_16_bits_are_no_mask(tmp_path: Path) -> None:
    """Of these the decoder keeps the high bytes: every label would be 0."""
    rows = b"".join(b"\0" + b"\0\3" * 6 for _ in range(2))  # filter, then 2 pixels of three planes
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )
    assert open_picture(tmp_path / "a.png").shape == (3, 2, 2)
    with pytest.raises(DataError, match="RGB in 16 bits"):
        open_picture(tmp_path / "a.png", grey=True)


def test_names_that_stand_for_two_files_are_told_of(tmp_path: Path) -> None:
    image, mask = scene()
    save(tmp_path / "images" / "a.png", image)
    save(tmp_path / "masks" / "a.png", mask)
    save(tmp_path / "masks" / "a_mask.png", mask)
    with pytest.raises(DataError, match=r"has two masks of the name a, a\.png and a_mask\.png"):
        examples(tmp_path)
    (tmp_path / "masks" / "a_mask.png").unlink()
    save(tmp_path / "images" / "a.bmp", image)
    with pytest.raises(DataError, match=r"has two pictures of the name a, a\.bmp and a\.png"):
        examples(tmp_path)


@pytest.mark.parametrize(("levels", "read"), [(3, False), (255, True), (1000, False), (65535, True)])
def test_labels_are_not_stretched(tmp_path: Path, levels: int, read: bool) -> None:
    """Of a PGM file with other levels the decoder makes grey: label 1 of 3 would be 85."""
    wide = levels > 255
    (tmp_path / "a.pgm").write_bytes(f"P5 2 1 {levels}\n".encode() + (b"\0\1\0\2" if wide else b"\1\2"))
    if read:
        assert open_picture(tmp_path / "a.pgm", grey=True).read(0, 0, 1, 2).tolist() == [[[1, 2]]]
    else:
        with pytest.raises(DataError, match=f"has levels up to {levels}, which are stretched"):
            open_picture(tmp_path / "a.pgm", grey=True)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_pictures_and_masks_are_turned_as_the_camera_says(
    tmp_path: Path, orientation: int, turns: int, suffix: str
) -> None:
    """Pixels of a photograph lie as the sensor does; its mask is drawn on what is shown."""
    image, mask = np.arange(96, dtype=np.uint8).reshape(4, 8, 3), np.arange(32, dtype=np.uint8).reshape(4, 8)
    exif = PIL.Exif()
    exif[0x0112] = orientation
    options: dict[str, dict[str, Any]] = {"webp": {"lossless": True}, "tif": {"compression": "tiff_lzw"}}
    for name, pixels, kind in (("p", image, suffix), ("m", mask, "tif")):
        PIL.fromarray(pixels).save(tmp_path / f"{name}.{kind}", exif=exif, **options.get(kind, {}))
    picture, labels = open_picture(tmp_path / f"p.{suffix}"), open_picture(tmp_path / "m.tif", grey=True)
    for found, stored in ((picture, image), (labels, mask[..., None])):
        wanted = np.rot90(stored, turns).transpose(2, 0, 1)
        assert found.shape == wanted.shape
        assert torch.equal(found.read(0, 0, *wanted.shape[1:]), torch.from_numpy(wanted.copy()))


def test_a_turned_tiff_without_compression_is_refused(tmp_path: Path) -> None:
    """Pillow decodes its rows in the width of the turned picture."""
    exif = PIL.Exif()
    exif[0x0112] = 6
    PIL.fromarray(np.zeros((4, 8), np.uint8)).save(tmp_path / "p.tif", exif=exif)
    with pytest.raises(DataError, match="stored turned by a quarter and without compression"):
        open_picture(tmp_path / "p.tif")


def test_a_label_that_a_mask_calls_no_data_is_told(tmp_path: Path) -> None:
    """Whoever made the mask said that nobody knows what is there."""
    for number in range(2):
        save(tmp_path / "images" / f"{number}.png", scene(seed=number)[0])
    (tmp_path / "masks").mkdir()
    for number in range(2):
        labels = PIL.fromarray(np.random.default_rng(number).integers(0, 4, (40, 50), dtype=np.uint8))
        labels.save(tmp_path / "masks" / f"{number}.tif", tiffinfo={42113: "3"})
    with pytest.warns(UserWarning, match=r"0\.tif says that its label 3 is no data, .* \(--ignore 3\)"):
        examples(tmp_path)
    ignored = examples(tmp_path, ignore=3)[0].mask
    assert ignored is not None and int(ignored.read(0, 0, 40, 50).unique()[-1]) == IGNORED
