"""The files that `prunus segment` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunus.data import pictures
from prunus.errors import DataError
from prunus.segmentation.files import lost_place, segment_file

PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
NORMALISE = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


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


class Bright(nn.Module):
    """Finds what is bright: one map, or one per class."""

    def __init__(self, maps: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, maps, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[-1] = 1
            assert self.conv.bias is not None
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@pytest.mark.parametrize("maps", [1, 2])
def test_a_mask_and_an_overlay_are_written(tmp_path: Path, maps: int) -> None:
    image, mask = scene(90, 70)
    save(tmp_path / "scene.png", image)
    normalise = ((115 / 255,) * 3, (0.25,) * 3)
    counts = segment_file(
        Bright(maps),
        tmp_path / "scene.png",
        tmp_path / "out" / "mask.png",
        tmp_path / "out" / "look.png",
        normalise,
        tile=32,
        overlap=8,
    )
    found = np.asarray(PIL.open(tmp_path / "out" / "mask.png"))
    assert np.array_equal(found, mask if maps == 1 else mask // 255)
    assert counts == {0: int((mask == 0).sum()), 1: int((mask > 0).sum())}
    look = np.asarray(PIL.open(tmp_path / "out" / "look.png"))
    assert look.shape == image.shape and np.array_equal(look[mask == 0], image[mask == 0])
    assert (look[mask > 0][:, 0].astype(int) > image[mask > 0][:, 0]).mean() > 0.5  # a red tint
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["look.png", "mask.png"]


def test_a_geotiff_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    from rasterio.transform import from_origin

    image, mask = scene(90, 70)
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 6_300_000, 0.3, 0.3)}
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", height=90, width=70, count=3, dtype="uint8", **place
    ) as file:
        file.write(image.transpose(2, 0, 1))
    monkeypatch.setattr(pictures, "WHOLE", 100)
    segment_file(
        Bright(),
        tmp_path / "scene.tif",
        tmp_path / "mask.tif",
        None,
        ((115 / 255,) * 3, (0.25,) * 3),
        tile=32,
        overlap=8,
    )
    with rasterio.open(tmp_path / "mask.tif") as file:
        assert file.crs == place["crs"] and file.transform == place["transform"]
        assert np.array_equal(file.read(1), mask)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.tif", "scene.tif"]
    assert lost_place(tmp_path / "scene.tif", tmp_path / "mask.tif") is None
    save(tmp_path / "flat.tif", image)
    assert lost_place(tmp_path / "flat.tif", tmp_path / "mask.png") is None
    lost = lost_place(tmp_path / "scene.tif", tmp_path / "mask.png")
    assert lost == (
        "mask.png does not keep the place on earth that scene.tif has: let the name of the mask end in .tif."
    )


def test_a_failure_leaves_no_mask(tmp_path: Path) -> None:
    save(tmp_path / "scene.png", scene()[0])
    with pytest.raises(DataError, match="3 planes, but the network's mean and deviation are of 1"):
        segment_file(Bright(), tmp_path / "scene.png", tmp_path / "mask.png", None, ((0.5,), (0.5,)))
    with pytest.raises(ZeroDivisionError):
        segment_file(Failing(), tmp_path / "scene.png", tmp_path / "mask.png", None, NORMALISE)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.png"]


class Failing(Bright):
    """Breaks down."""

    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError
