"""Whole segmentations, called from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from prunus import runs
from prunus.errors import ConfigError
from prunus.runs.segmenting import TILES, Tiles, _write_mask


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
