"""Which samples were kept: files epoch by epoch, and the extremes of them."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from prunus.data import Split
from prunus.runs import sample_gallery
from prunus.runs.sample_gallery import _kept, extremes, panel, write
from prunus.selection import Selection
from prunus.training import EpochRecord, History, TrainConfig

IMAGES = torch.randint(256, (30, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SPLIT = Split(IMAGES, torch.arange(30) % 10)
CLASSES = [f"class {i}" for i in range(10)]


def test_the_gallery_shows_what_was_kept_most_and_least_often(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for epoch, kept in enumerate((range(20), range(12), range(12))):
        write(tmp_path, epoch, Selection(np.isin(np.arange(30), kept)))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"epoch-000{n}.npy" for n in (1, 2, 3)]
    records = [EpochRecord(e, 0.0, None, None, 0.1, 1.0, samples=n) for e, n in enumerate((20, 12, 12), 1)]
    found = panel(tmp_path, History(TrainConfig(), tuple(records), 3), SPLIT, CLASSES)
    assert found is not None and found["samples"] == [20, 12, 12] and found["total"] == 30
    critical, redundant = found["gallery"]
    assert critical["title"] == "Most critical: kept in 3 of 3 choices"
    assert redundant["title"] == "Most redundant: kept in 0 to 1 of 3 choices"
    for place, picture in enumerate(critical["pictures"]):
        shown = np.asarray(pillow.open(io.BytesIO(base64.b64decode(picture["png"]))))
        assert np.array_equal(shown, IMAGES[place, 0].numpy()) and picture["label"] == f"class {place % 10}"
    assert len(critical["pictures"]) == len(redundant["pictures"]) == sample_gallery.SHOWN


def test_damaged_files_of_samples_end_no_training(tmp_path: Path) -> None:
    """What is no list of samples counts for nothing where a run is resumed; no pipe is waited for."""
    write(tmp_path, 0, Selection(np.isin(np.arange(30), range(20))))
    records = [EpochRecord(1, 0.0, None, None, 0.1, 1.0, samples=20)]
    whole = panel(tmp_path, History(TrainConfig(), tuple(records), 1), SPLIT, CLASSES)
    integers = [np.array(one, np.int32) for one in ([30], [-1], [[0, 0], [0, 0]], [0] * 100_000)]
    wrong: list[np.ndarray] = [*integers, np.zeros(2)]
    for number, one in enumerate(wrong, 2):
        np.save(tmp_path / f"epoch-000{number}.npy", one)
    (tmp_path / "epoch-0007.npy").write_bytes(b"nothing")
    (tmp_path / "epoch-0008.npy").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "epoch-0009.npy")
    assert panel(tmp_path, History(TrainConfig(), tuple(records), 1), SPLIT, CLASSES) == whole


def test_no_flipped_bit_of_a_file_of_samples_ends_a_training(tmp_path: Path) -> None:
    """Most of the file is a header that numpy parses as Python, and its parser has errors of many kinds."""
    write(tmp_path, 0, Selection(np.isin(np.arange(30), range(20))))
    file = tmp_path / "epoch-0001.npy"
    content = file.read_bytes()
    found = set()
    for bit in range(8 * 80):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        found.add(_kept(file, 30) is None)
    assert found == {True, False}  # blanks may be others
    for length in (2**42, 2**70):
        file.write_bytes(content.replace(b"(20,), }" + b" " * 20, f"({length},), }}".encode().ljust(28)))
        assert file.read_bytes() != content and _kept(file, 30) is None


def test_without_a_selection_there_is_no_gallery(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        assert panel(folder, History(TrainConfig(), (), 0), SPLIT, CLASSES) is None


def test_cheap_and_dear_samples_are_those_of_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL", reason="Pillow is not installed")
    macs = torch.linspace(0.01, 0.3, 30)
    cheap, dear = extremes(SPLIT, CLASSES, macs.flip(0))
    assert cheap["pictures"][0]["label"] == "class 9" and dear["pictures"][0]["label"] == "class 0"
    assert cheap["title"] == f"Cheapest: {100 * float(macs[:12].mean()):.0f} % of the MACs"
    monkeypatch.setattr(sample_gallery, "find_spec", lambda name: None)
    assert extremes(SPLIT, CLASSES, macs) == []
