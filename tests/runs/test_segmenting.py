"""Whole segmentations, called from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from prunus import runs
from prunus.errors import ConfigError, PrunusError
from prunus.runs.segmenting import TILES, Tiles, _write_mask
from prunus.runs.settings import Network


def test_tiles_are_whole_numbers_of_pixels() -> None:
    assert Tiles(512, 64) == TILES
    with pytest.raises(ConfigError, match="side must be a whole number"):
        Tiles("large")  # type: ignore[arg-type]


def test_a_set_without_masks_is_not_segmented() -> None:
    with pytest.raises(
        ConfigError, match="digits is measured by top-1 accuracy: what is segmented has masks"
    ):
        runs.segment_set("digits", "unet")


def test_masks_go_into_a_folder_and_a_mask_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file is a file: with --data, -o names a folder for masks"):
        runs.segment_set("digits", "unet", tmp_path / "file")
    with pytest.raises(ConfigError, match="is a folder: -o names the mask"):
        runs.segment("picture.png", "unet", tmp_path)


@pytest.mark.parametrize(("maps", "highest"), [(1, 1), (256, 255), (300, 299)])
@pytest.mark.parametrize("shape", [(2, 3), (6,)])
def test_masks_of_a_set_hold_every_class(
    tmp_path: Path, maps: int, highest: int, shape: tuple[int, ...]
) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    _write_mask(tmp_path / "mask.png", torch.full(shape, highest), maps)
    found = np.asarray(pillow.open(tmp_path / "mask.png"))
    assert found.shape == ((2, 3) if len(shape) == 2 else (1, 6))
    assert set(found.flat) == {255 if maps == 1 else highest}


def test_a_mask_does_not_replace_its_picture_nor_its_overlay(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"a picture")
    with pytest.raises(ConfigError, match=r"a\.png is read by this command, and would be lost"):
        runs.segment(picture, "unet", picture)
    with pytest.raises(ConfigError, match=r"a-overlay\.png is what the overlay is called"):
        runs.segment(picture, "unet", tmp_path / "a-overlay.png")
    assert picture.read_bytes() == b"a picture"


@pytest.mark.parametrize(
    ("planes", "stored", "said"),
    [
        (
            1,
            "L",
            "onelayer:one takes 1 plane, and nobody says which mean and deviation it expects: give",
        ),
        (4, "RGB", "onelayer:four takes 4 planes, and nobody says"),
        (3, "L", r"a\.png has 1 planes, but .* are of 3: store it in colours"),
    ],
)
def test_a_picture_and_a_network_of_other_planes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planes: int, stored: str, said: str
) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    names = {1: "one", 3: "three", 4: "four"}
    (tmp_path / "onelayer.py").write_text(
        "from torch import nn\n"
        + "".join(f"def {name}():\n    return nn.Conv2d({n}, 2, 1)\n" for n, name in names.items())
    )
    monkeypatch.syspath_prepend(tmp_path)
    pillow.new(stored, (8, 8)).save(tmp_path / "a.png")
    network = Network(f"onelayer:{names[planes]}", input_shape=(1, planes, 8, 8))
    with pytest.raises(PrunusError, match=said):
        runs.segment(tmp_path / "a.png", network)
    assert not (tmp_path / "a-mask.png").exists()
    if planes == 1:
        runs.segment(tmp_path / "a.png", network, mean="0.5", std="0.25")
        assert (tmp_path / "a-mask.png").exists()


def test_masks_do_not_lie_among_what_is_read(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for name in "ab":
            pillow.new("L", (8, 8), 1).save(tmp_path / "set" / kind / f"{name}.png")
    for kind in ("images", "masks"):
        with pytest.raises(ConfigError, match="is read by this command: -o names another folder"):
            runs.segment_set(str(tmp_path / "set"), "unet", tmp_path / "set" / kind)
        assert len(list((tmp_path / "set" / kind).iterdir())) == 2


def test_pixels_of_a_set_without_a_class_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that gives NaN was right wherever the first class is."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    (tmp_path / "lostlayer.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    layer = nn.Conv2d(3, 2, 1)\n"
        "    nn.init.constant_(layer.bias, float('nan'))\n"
        "    return layer\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for part in ("train", "test"):
        for kind in ("images", "masks"):
            (tmp_path / "set" / part / kind).mkdir(parents=True)
            for number in range(6):
                pillow.new("RGB" if kind == "images" else "L", (8, 8), int(part == "train")).save(
                    tmp_path / "set" / part / kind / f"{number}.png"
                )
    network = Network("lostlayer:build", input_shape=(1, 3, 8, 8))
    found = runs.segment_set(str(tmp_path / "set"), network, tmp_path / "out")
    assert found["pixel accuracy"] == 0.0 and len(list((tmp_path / "out").iterdir())) == 6
    assert any("gives NaN in 384 of 384 pixels of" in note for note in found["notes"]), found["notes"]
