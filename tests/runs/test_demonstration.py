"""The whole story, told from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunus import runs
from prunus.errors import ConfigError, PrunusError


def test_a_place_that_is_no_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    (tmp_path / "file").write_text("")
    steps: list[str] = []
    with pytest.raises(PrunusError, match="file"):
        runs.demo(tmp_path / "file", watch=lambda step, done, total: steps.append(step))
    with pytest.raises(ConfigError, match="tolerance must be a number"):
        runs.demo(tmp_path / "out", tolerance="some")  # type: ignore[arg-type]
    assert not steps
    assert (tmp_path / "file").read_text() == "" and not (tmp_path / "out").exists()
