"""Temporary folders say where they are full, and that there is none."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from prunus._foundation.scratch import scratch_folder
from prunus.errors import FileFormatError


def test_it_is_gone_whatever_happens() -> None:
    with scratch_folder() as name:
        (Path(name) / "a").write_text("x")
    assert not Path(name).exists()
    with pytest.raises(ZeroDivisionError), scratch_folder() as name:
        raise ZeroDivisionError
    assert not Path(name).exists()


def test_a_full_disk_is_told_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(FileFormatError) as told, scratch_folder():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(told.value) == (
        f"Temporary files cannot be written to {tmp_path} (No space left on device): make room there, or set"
        " TMPDIR to another folder."
    )
    with pytest.raises(PermissionError), scratch_folder():  # of what else the block does
        raise PermissionError(errno.EACCES, "Permission denied")
    assert not list(tmp_path.iterdir())


def test_no_folder_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(FileFormatError, match=r"There is no folder for temporary files .* TMPDIR"):
        scratch_folder().__enter__()
