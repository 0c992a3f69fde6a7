"""The files that `prunus segment` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunus.data import pictures
from prunus.errors import ConfigError, DataError
from prunus.segmentation.files import _overlay, lost_place, segment_file

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


@pytest.mark.parametrize("maps", [1, 2])
def test_pixels_without_a_class_are_told(tmp_path: Path, maps: int) -> None:
    """A network that gave NaN found the first class there, or no foreground, without a word."""
    image, _ = scene(40, 30)
    save(tmp_path / "scene.png", image)
    model = Bright(maps)
    with torch.no_grad():
        assert model.conv.bias is not None
        model.conv.bias[0] = torch.nan
    with pytest.warns(UserWarning, match="gives NaN in 1,200 of 1,200 pixels of scene.png; masks have 0"):
        counts = segment_file(
            model, tmp_path / "scene.png", tmp_path / "mask.png", tmp_path / "look.png", NORMALISE
        )
    assert counts == {} and not np.asarray(PIL.open(tmp_path / "mask.png")).any()
    assert np.array_equal(np.asarray(PIL.open(tmp_path / "look.png")), image), "nothing is coloured"


def test_a_mask_has_the_name_of_what_it_is(tmp_path: Path) -> None:
    save(tmp_path / "scene.png", scene()[0])
    with pytest.raises(ConfigError, match=r"mask\.jpg is the name of another kind of picture"):
        segment_file(Bright(), tmp_path / "scene.png", tmp_path / "mask.jpg", None, NORMALISE)
    assert not (tmp_path / "mask.jpg").exists()


def test_a_failure_leaves_no_mask(tmp_path: Path) -> None:
    save(tmp_path / "scene.png", scene()[0])
    with pytest.raises(DataError, match="3 planes, but the network's mean and deviation are of 1"):
        segment_file(Bright(), tmp_path / "scene.png", tmp_path / "mask.png", None, ((0.5,), (0.5,)))
    with pytest.raises(ZeroDivisionError):
        segment_file(Failing(), tmp_path / "scene.png", tmp_path / "mask.png", None, NORMALISE)
    assert [path.name for path in tmp_path.iterdir()] == ["scene.png"]


class Constant(nn.Module):
    """Finds one class of many everywhere."""

    def __init__(self, maps: int, found: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(maps, 1, 1))
        with torch.no_grad():
            self.weight[found] = 1

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.expand(len(x), -1, *x.shape[2:])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("maps", "found", "kind"),
    [
        (1, 0, np.uint8),
        (256, 255, np.uint8),
        (257, 256, np.uint16),
        (300, 3, np.uint16),
        (65536, 65535, np.uint16),
    ],
)
def test_masks_hold_every_class_that_there_is(
    tmp_path: Path, suffix: str, maps: int, found: int, kind: type
) -> None:
    if suffix == ".tif":
        pytest.importorskip("rasterio", reason="rasterio is not installed")
    save(tmp_path / "scene.png", scene(6, 5)[0])
    mask, look = tmp_path / f"mask{suffix}", tmp_path / "look.png"
    counts = segment_file(
        Constant(maps, found), tmp_path / "scene.png", mask, look, NORMALISE, tile=4, overlap=1
    )
    pixels = np.asarray(PIL.open(mask))
    assert pixels.dtype == kind and pixels.shape == (6, 5)
    assert set(pixels.flat) == {255 if maps == 1 else found} and counts == {max(found, maps == 1): 30}
    assert np.asarray(PIL.open(look)).shape == (6, 5, 3)


def test_more_classes_than_a_mask_tells_apart_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "scene.png", scene(4, 4)[0])
    with pytest.raises(ConfigError, match="The network has 65,537 classes, and the pixels of a mask tell"):
        segment_file(
            Constant(65537, 0),
            tmp_path / "scene.png",
            tmp_path / "mask.png",
            None,
            NORMALISE,
            tile=4,
            overlap=1,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["scene.png"]


class Columns(nn.Module):
    """Finds the class of the column."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.eye(x.shape[3])[:, None].expand(len(x), -1, *x.shape[2:])


def test_a_class_has_its_colour_in_every_strip(tmp_path: Path) -> None:
    save(tmp_path / "scene.png", np.zeros((8, 20, 3), np.uint8))
    segment_file(
        Columns(),
        tmp_path / "scene.png",
        tmp_path / "m.png",
        tmp_path / "o.png",
        NORMALISE,
        tile=20,
        overlap=0,
    )
    look = np.asarray(PIL.open(tmp_path / "o.png"))
    assert (look == look[:1]).all() and not look[0, 0].any()
    assert len({tuple(colour) for colour in look[0, 1:8]}) == 7  # told apart, as the first classes are
    assert np.array_equal(look[0, 8:15], look[0, 1:8])


@pytest.mark.parametrize("planes", range(1, 6))
@pytest.mark.parametrize("whole", [pictures.WHOLE, 100])
def test_pictures_of_any_planes_get_an_overlay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planes: int, whole: int
) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    pixels = np.random.default_rng(0).integers(0, 255, (planes, 20, 24), dtype=np.uint8)
    with rasterio.open(
        tmp_path / "scene.tif",
        "w",
        driver="GTiff",
        height=20,
        width=24,
        count=planes,
        dtype="uint8",
        photometric="rgb" if planes > 2 else "minisblack",
        transform=(0.3, 0, 1, 0, -0.3, 1),
    ) as file:
        file.write(pixels)
    monkeypatch.setattr(pictures, "WHOLE", whole)
    seen = 3 if planes > 2 else 1
    segment_file(
        nn.Conv2d(seen, 2, 1),
        tmp_path / "scene.tif",
        tmp_path / "mask.png",
        tmp_path / "look.png",
        ((0.5,) * seen, (0.25,) * seen),
        tile=16,
        overlap=4,
    )
    mask, look = (np.asarray(PIL.open(tmp_path / name)) for name in ("mask.png", "look.png"))
    plain = np.broadcast_to(pixels[:seen].transpose(1, 2, 0), look.shape)
    assert np.array_equal(look[mask == 0], plain[mask == 0])


@pytest.mark.parametrize("planes", range(1, 6))
def test_overlays_of_pictures_in_memory(planes: int) -> None:
    """Whatever a picture of one's own has, three planes or the first are shown."""
    picture = pictures.Loaded(torch.randint(256, (planes, 4, 5), dtype=torch.uint8))
    look = _overlay(picture, torch.zeros(4, 5, dtype=torch.int64), 0, 1)
    shown = picture.pixels[:3] if planes > 2 else picture.pixels[:1].expand(3, -1, -1)
    assert torch.equal(look, shown.permute(1, 2, 0))


class Failing(Bright):
    """Breaks down."""

    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError
