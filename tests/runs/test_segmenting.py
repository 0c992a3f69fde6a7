"""Whole segmentations, called from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunus import runs
from prunus.errors import ConfigError
from prunus.runs.segmenting import TILES, Tiles


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
