"""One-shot pruning of the benchmarks: every subject is measured by its own metric."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from benchmarks import one_shot, one_shot_pictures, one_shot_table

from prunus import models, storage


@pytest.fixture
def pictures(tmp_path: Path) -> argparse.Namespace:
    """Ten pictures with a bright square each, and a U-Net that has seen none of them."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for kind in ("images", "masks"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    for number in range(10):
        mask = torch.zeros(64, 64, dtype=torch.uint8)
        mask[4 * number : 4 * number + 24, 8:40] = 1
        noise = torch.randint(60, (64, 64), generator=torch.Generator().manual_seed(number))
        image = (40 + 150 * mask + noise).to(torch.uint8)
        pillow.fromarray(image.numpy()).save(tmp_path / "set" / "images" / f"{number}.png")
        pillow.fromarray(mask.numpy()).save(tmp_path / "set" / "masks" / f"{number}.png")
    torch.manual_seed(0)
    storage.save(models.unet(width=one_shot_pictures.WIDTH, in_channels=1), tmp_path / "base.safetensors")
    return argparse.Namespace(
        data=tmp_path / "set", network="unet", weights=tmp_path / "base.safetensors", cache=None
    )


def test_a_segmentation_network_is_measured_by_iou(pictures: argparse.Namespace) -> None:
    what = one_shot_pictures.unet(pictures)
    assert [what.task.count(part) for part in ("train", "validation", "test")] == [6, 2, 2]
    way = one_shot.Way("l1 norm", "uniform", "none, repaired")
    row = one_shot.measured(pictures, what, way, 0.5, 0)
    assert row["metric"] == "mean IoU" and row["samples"] == 2 and 0.4 < row["macs_left"] <= 0.5
    assert 0.0 <= row["accuracy"]["small"] <= 100.0
    row |= {"data": "squares", "network": "unet", "weights": "base", "macs": 0.5, "seed": 0}
    row |= {"score": way.score, "scope": way.scope, "compensation": way.compensation}
    row["accuracy"]["dense"] = one_shot.accuracy(what.model, what)
    lines = one_shot_table._sections([row])
    assert lines[0] == "## squares, unet (base), 50.0% of the MACs left, mean IoU"
    assert lines[-1].startswith("| l1 norm | uniform | none, repaired | ")
