"""Files of arrays: what is damaged costs nothing and is told, and nothing is unpickled."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prunus.data import limits, npz
from prunus.errors import DataError
from prunus.tasks import Regression, npz_task

RANDOM = np.random.default_rng(0)


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return file.getvalue()


def array(header: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + content


LARGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000), }\n"
SMALL = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is no .npz file"),
        (b"PK\x03\x04" + bytes(200), "is no .npz file"),
        (archive(inputs=b"", targets=b""), "no array that numpy wrote"),
        (archive(inputs=array(LARGE), targets=array(LARGE)), "the file is damaged"),
        (archive(inputs=array(SMALL, bytes(16)), targets=array(SMALL, bytes(17))), "the file is damaged"),
        (archive(inputs=array("{" * 300), targets=array(SMALL, bytes(16))), "header cannot be read"),
        (
            archive(inputs=array(SMALL, bytes(16), b"\x09\x00"), targets=array(SMALL, bytes(16))),
            "header cannot be read",
        ),
        (
            archive(
                inputs=array("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -2), }\n", bytes(16)),
                targets=array(SMALL),
            ),
            "no axis may be",
        ),
    ],
)
def test_damaged_files_cost_nothing_and_are_told(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataError, match=text):
        npz_task(tmp_path / "bad.npz")


def test_every_flipped_byte_is_read_or_told(tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "good.npz", inputs=RANDOM.normal(size=(6, 2)).astype(np.float32), targets=np.arange(6) % 2
    )
    good = (tmp_path / "good.npz").read_bytes()
    for place in range(0, len(good), 7):
        (tmp_path / "bad.npz").write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            npz_task(tmp_path / "bad.npz")
        except DataError as error:
            assert str(error).endswith(".")


def test_memory_is_asked_for_only_within_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMORY", 1 << 12)
    np.savez_compressed(
        tmp_path / "much.npz", inputs=np.zeros((100, 1000), np.uint8).astype(bool), targets=np.arange(100)
    )
    monkeypatch.setattr(npz, "_read", None)  # nothing is read
    with pytest.raises(DataError, match=r"need 400.8 kB|need 0.4 MB|need 400,800 bytes"):
        npz_task(tmp_path / "much.npz")


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    np.savez(tmp_path / "evil.npz", inputs=np.array([Evil(), Evil()], object), targets=np.arange(2))
    with pytest.raises(DataError, match="pickle"):
        npz_task(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


def test_parts_are_of_one_kind(tmp_path: Path) -> None:
    """Bytes were pictures and normalised in one part, and numbers taken as they are in another."""
    images = RANDOM.integers(0, 256, (6, 8, 8, 3))
    for train, test in ((np.uint8, np.int16), (np.int16, np.uint8), (np.uint8, np.float32)):
        file = tmp_path / "parts.npz"
        labels = np.arange(6) % 2
        np.savez(
            file, x_train=images.astype(train), y_train=labels, x_test=images.astype(test), y_test=labels
        )
        with pytest.raises(DataError, match=f"x_test holds {np.dtype(test)}, but x_train {np.dtype(train)}"):
            npz_task(file)
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels.astype(np.uint8))
    assert npz_task(file).classes == ("0", "1")


def test_numbers_in_the_inputs_form_are_maps_of_one_plane(tmp_path: Path) -> None:
    maps = RANDOM.normal(size=(20, 6, 6)).astype(np.float32)
    maps[:, 0] = 0.0  # a border where nothing happens
    np.savez(tmp_path / "maps.npz", inputs=maps[:, None], targets=maps)
    metric = npz_task(tmp_path / "maps.npz").metric
    assert isinstance(metric, Regression) and metric.variance.shape == (1, 1, 1)


def test_a_file_whose_parts_lie_elsewhere_is_called_damaged(tmp_path: Path) -> None:
    """The zip reader looks for them before the beginning, which the system calls an invalid argument."""
    np.savez(tmp_path / "a.npz", inputs=np.zeros((4, 3), np.float32), targets=np.arange(4))
    content = (tmp_path / "a.npz").read_bytes()
    for gone in (1, 8, 100):
        (tmp_path / "a.npz").write_bytes(content[gone:])
        with pytest.raises(DataError, match=r"a\.npz is no \.npz file, .* or a damaged one"):
            npz.read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("names", [("x_dev", "y_dev"), ("eval_inputs", "eval_targets"), ("x", "y")])
def test_inputs_of_no_part_are_told(tmp_path: Path, names: tuple[str, str]) -> None:
    inputs, labels = np.zeros((6, 2), np.float32), np.arange(6) % 2
    arrays: dict[str, Any] = {"train_x": inputs, "train_y": labels, names[0]: inputs, names[1]: labels}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.warns(UserWarning, match=f"{names[0]} is not read: the parts of a set are named train, val"):
        assert set(npz.read_npz(tmp_path / "a.npz")) == {"train"}
