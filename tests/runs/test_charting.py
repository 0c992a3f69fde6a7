"""What runs recorded, gathered from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunus import runs
from prunus.errors import ConfigError, FileFormatError


def test_a_folder_of_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not the folder of a run: it holds neither result\.json nor"):
        runs.chart([tmp_path, tmp_path])


def test_a_record_that_holds_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(FileFormatError, match=str(tmp_path)):
        runs.chart([tmp_path])
