"""Pictures and masks from folders, windows for training, and the files that `prunus segment` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunus.data import pictures
from prunus.data.pictures import IGNORED, Example, Loaded, examples, open_picture
from prunus.errors import ConfigError, DataError
from prunus.segmentation import Patches
from prunus.segmentation.files import segment_file
from prunus.training import TrainConfig, train

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
    assert isinstance(windowed.picture, pictures.Raster) and windowed.picture.shape == (3, 40, 50)
    assert whole.mask is not None and windowed.mask is not None
    for top, left, height, width in ((0, 0, 40, 50), (5, 7, 9, 11)):
        assert torch.equal(
            windowed.picture.read(top, left, height, width), whole.picture.read(top, left, height, width)
        )
        assert torch.equal(
            windowed.mask.read(top, left, height, width), whole.mask.read(top, left, height, width)
        )


def loaded(seed: int = 0, height: int = 40) -> Example:
    image, mask = scene(height, seed=seed)
    return Example(
        "a", Loaded(torch.from_numpy(image).permute(2, 0, 1)), Loaded(torch.from_numpy(mask // 255)[None])
    )


def test_windows_show_the_picture_and_its_mask_alike() -> None:
    torch.manual_seed(0)
    patches = Patches([loaded()], NORMALISE, size=24, count=10, batch_size=4)
    batches = list(patches)
    assert len(patches) == 3 and [len(images) for images, _ in batches] == [4, 4, 2]
    for images, masks in batches:
        bright = (images * 0.25 + 0.5)[:, 0] * 255 > 115
        assert images.shape[1:] == (3, 24, 24) and masks.dtype == torch.int64
        assert torch.equal(bright, masks == 1)
    other = list(patches)
    assert not torch.equal(batches[0][0], other[0][0])
    torch.manual_seed(0)
    assert torch.equal(
        batches[0][0], next(iter(Patches([loaded()], NORMALISE, size=24, count=10, batch_size=4)))[0]
    )


def test_small_pictures_are_reflected_where_the_mask_is_unknown() -> None:
    images, masks = next(iter(Patches([loaded()], NORMALISE, size=64, count=2, batch_size=2, turned=False)))
    assert images.shape == (2, 3, 64, 64)
    assert (
        bool((masks[:, 40:] == IGNORED).all())
        and bool((masks[:, :, 50:] == IGNORED).all())
        and not bool((masks[:, :40, :50] == IGNORED).any())
    )


def test_windows_need_masks_and_sizes() -> None:
    with pytest.raises(DataError, match="each with its mask"):
        Patches([Example("a", loaded().picture)], NORMALISE)
    with pytest.raises(ConfigError, match="at least 1"):
        Patches([loaded()], NORMALISE, size=0)


class Bright(nn.Module):
    """Finds what is bright: one map, or one per class."""

    def __init__(self, maps: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, maps, 1)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[-1] = 1
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


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


def test_our_engine_trains_on_windows() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))
    from prunus.segmentation import binary

    history = train(
        model,
        Patches([loaded(), loaded(1)], NORMALISE, size=16, count=32),
        TrainConfig(epochs=3, lr=0.05, batch_size=64),
        loss=binary,
    )
    assert history.epochs[-1].loss < history.epochs[0].loss
