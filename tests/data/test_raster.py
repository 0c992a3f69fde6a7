"""A TIFF has the same planes and values however it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from prunus.data import pictures
from prunus.data.pictures import Loaded, open_picture
from prunus.data.raster import Raster, need_rasterio, opened_raster
from prunus.errors import DataError

PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
pytest.importorskip("rasterio", reason="rasterio is not installed")
SIZE = 12, 15


def pixels(count: int, below: int = 256) -> np.ndarray:
    return np.random.default_rng(count).integers(0, below, (count, *SIZE), dtype=np.uint8)


def by_gdal(path: Path, count: int, below: int = 256, **profile: Any) -> None:
    """A TIFF of so many bands; three or more are colours."""
    profile = {"photometric": "rgb" if count > 2 else "minisblack"} | profile
    with need_rasterio().open(
        path,
        "w",
        driver="GTiff",
        height=SIZE[0],
        width=SIZE[1],
        count=count,
        dtype="uint8",
        transform=(0.3, 0, 1, 0, -0.3, 1),
        **profile,
    ) as file:
        file.write(pixels(count, below))


def by_pillow(path: Path, mode: str, **options: Any) -> None:
    """A TIFF of Pillow's modes."""
    if mode == "1":
        image = PIL.fromarray(255 * pixels(1, 2)[0]).convert("1")
    elif mode == "P":
        image = PIL.fromarray(pixels(1, 3)[0])
        image.putpalette([9, 8, 7, 255, 0, 0, 0, 120, 0])
    else:
        bands = len(PIL.new(mode, (1, 1)).getbands())
        image = PIL.frombytes(mode, SIZE[::-1], pixels(bands).transpose(1, 2, 0).tobytes())
    image.save(path, **options)


GDAL: dict[str, dict[str, Any]] = {
    "grey": {"count": 1},
    "grey and another": {"count": 2},
    "grey and transparency": {"count": 2, "alpha": "yes"},
    "colours": {"count": 3},
    "colours, plane by plane": {"count": 3, "interleave": "band"},
    "colours and another": {"count": 4},
    "colours and transparency": {"count": 4, "alpha": "yes"},
    "colours and two others": {"count": 5},
    "from white": {"count": 1, "photometric": "miniswhite"},
    "one bit": {"count": 1, "below": 2, "nbits": 1},
    "one bit, from white": {"count": 1, "below": 2, "nbits": 1, "photometric": "miniswhite"},
    "two bits": {"count": 1, "below": 4, "nbits": 2},
    "four bits": {"count": 1, "below": 16, "nbits": 4},
}
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")


def twice(path: Path, monkeypatch: pytest.MonkeyPatch, grey: bool) -> list[Tensor]:
    """The file as a whole, and by window."""
    whole = open_picture(path, grey)
    monkeypatch.setattr(pictures, "WHOLE", 10)
    windowed = open_picture(path, grey)
    assert isinstance(whole, Loaded) and isinstance(windowed, Raster)
    assert whole.shape == windowed.shape
    height, width = SIZE
    assert torch.equal(windowed.read(2, 3, 5, 6), windowed.read(0, 0, height, width)[:, 2:7, 3:9])
    return [one.read(0, 0, height, width) for one in (whole, windowed)]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("kind", GDAL)
def test_bands_and_bits_are_read_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, grey: bool
) -> None:
    if grey and GDAL[kind]["count"] > 2:
        pytest.skip("no mask")
    by_gdal(tmp_path / "a.tif", **GDAL[kind])
    whole, windowed = twice(tmp_path / "a.tif", monkeypatch, grey)
    assert torch.equal(whole, windowed) and len(whole) == (3 if GDAL[kind]["count"] > 2 else 1)


@pytest.mark.parametrize("mode", MODES)
def test_modes_are_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    by_pillow(tmp_path / "a.tif", mode)
    whole, windowed = twice(tmp_path / "a.tif", monkeypatch, grey=False)
    assert int((whole.int() - windowed.int()).abs().max()) <= (mode in ("CMYK", "YCbCr"))  # rounded


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_masks_are_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    by_pillow(tmp_path / "a.tif", mode)
    whole, windowed = twice(tmp_path / "a.tif", monkeypatch, grey=True)
    assert torch.equal(whole, windowed)


def test_masks_of_three_planes_are_grey_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.fromarray(np.repeat(pixels(1)[0][..., None], 3, 2)).save(tmp_path / "grey.tif")
    assert torch.equal(*twice(tmp_path / "grey.tif", monkeypatch, grey=True))
    by_pillow(tmp_path / "coloured.tif", "RGB")
    with pytest.raises(
        DataError, match=r"The mask .*coloured\.tif is coloured \(RGB\): a mask has one plane"
    ):
        open_picture(tmp_path / "coloured.tif", grey=True).read(0, 0, *SIZE)


@pytest.mark.parametrize(
    ("mode", "options", "text"),
    [
        ("LAB", {}, r"by window its colours would be others \(LAB\)"),
        (
            "RGB",
            {"tiffinfo": {274: 6}, "compression": "tiff_lzw"},
            "is stored turned, and is too large to be turned: store it upright",
        ),
    ],
)
def test_what_would_differ_by_window_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, options: dict[str, Any], text: str
) -> None:
    by_pillow(tmp_path / "a.tif", mode, **options)
    assert open_picture(tmp_path / "a.tif").shape[0] == 3
    monkeypatch.setattr(pictures, "WHOLE", 10)
    with pytest.raises(DataError, match=text):
        open_picture(tmp_path / "a.tif")


def test_colours_multiplied_by_transparency_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_gdal(tmp_path / "a.tif", 4, alpha="premultiplied")
    monkeypatch.setattr(pictures, "WHOLE", 10)
    with pytest.raises(DataError, match="store it in grey levels or RGB, and transparency as it is"):
        open_picture(tmp_path / "a.tif")


def test_errors_name_the_raster(tmp_path: Path) -> None:
    by_gdal(tmp_path / "a.tif", 1)
    with pytest.raises(DataError, match=r"a\.tif is no readable raster"), opened_raster(tmp_path / "a.tif"):
        raise ZeroDivisionError
