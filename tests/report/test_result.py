"""`result.json`: written whole, read back as it was, refused if it is something else."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from prunus import report
from prunus.errors import FileFormatError
from prunus.report.result import read, write_json


def test_what_is_written_is_what_is_read(lenet: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    write_json(lenet, path)
    assert read(path) == lenet
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444  # readable as other files are, not as a secret
    assert [one.name for one in path.parent.iterdir()] == ["result.json"]


def test_numbers_that_json_does_not_have_are_refused(lenet: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json({**lenet, "seed": float("nan")}, tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"schema": 1})])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(FileFormatError):
        read(path)
    with pytest.raises(FileFormatError, match="cannot be read"):
        read(tmp_path / "nothing.json")


def test_a_result_is_read_from_its_file_or_the_folder_of_its_run(
    tmp_path: Path, lenet: dict[str, Any]
) -> None:
    """The sentence about results named `prunus.report.read`, which was not there."""
    write_json(lenet, tmp_path / "result.json")
    assert report.read(tmp_path) == report.read(str(tmp_path / "result.json")) == lenet
    for nothing in (tmp_path / "none", 5):
        with pytest.raises(FileFormatError):
            report.read(nothing)  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="path must be"):
        report.write(lenet, 5)  # type: ignore[arg-type]
