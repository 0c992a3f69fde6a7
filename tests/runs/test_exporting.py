"""An ONNX file of a network by its name, written from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunus import runs
from prunus.errors import ConfigError
from prunus.runs.exporting import ExportSettings


def test_a_file_is_written_and_told_about(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    network = runs.Network("lenet5", input_shape=(1, 1, 8, 8))
    settings = ExportSettings(takes_pixels=True, mean="0.5", std="0.25")
    found = runs.export(network, tmp_path / "model.onnx", settings)
    file = tmp_path / "model.onnx"
    assert (found["path"], found["bytes"]) == (str(file), file.stat().st_size)
    assert found["relative"] < 1e-4 and found["notes"] == [
        "The weights of lenet5 are random: none were given."
    ]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder: -o names the ONNX file"):
        runs.export("lenet5", tmp_path)
