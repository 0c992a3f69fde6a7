"""ONNX files in ONNX Runtime: what they take, and what is said of those that cannot be run."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import prunus
from prunus.deploy.file_network import FileNetwork
from prunus.deploy.onnx import export
from prunus.deploy.onnx_file import Taken, first_cause, runner, session, taken
from prunus.errors import ConfigError, FileFormatError, PrunusError
from prunus.measure.timing import measure_onnx

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

IMAGE = torch.randn(1, 2, 4, 4)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()).eval()


@pytest.fixture(scope="module")
def file(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(model, IMAGE, tmp_path_factory.mktemp("files") / "a.onnx").path


def test_what_a_file_takes(model: nn.Module, file: Path, tmp_path: Path) -> None:
    assert taken(file) == (Taken((1, 2, 4, 4), torch.float32),)
    free = export(model, torch.randn(2, 2, 4, 4), tmp_path / "free.onnx", dynamic_batch=True).path
    assert taken(free) == (Taken((None, 2, 4, 4), torch.float32),)


@pytest.mark.parametrize("content", [None, b"", b"not a network"])
def test_a_file_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    """ONNX Runtime has a type of error of its own for every way, and none is a sentence."""
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    for read in (taken, runner, FileNetwork, lambda path: measure_onnx({"a": path}, IMAGE)):
        with pytest.raises(FileFormatError, match=r"broken\.onnx cannot be read as an ONNX file: .*\.$"):
            read(path)


def test_inputs_that_a_file_does_not_take(file: Path) -> None:
    for wrong in (torch.zeros(1, 3, 4, 4), IMAGE.double()):
        for call in (lambda: runner(file)(wrong), lambda: measure_onnx({"a": file}, wrong)):  # noqa: B023
            with pytest.raises(ConfigError) as caught:
                call()
            said = str(caught.value)
            assert said.startswith(
                "a.onnx takes input [1, 2, 4, 4] of tensor(float), and cannot be run on input"
            )
            assert f"[{', '.join(map(str, wrong.shape))}]" in said and said.endswith(".")
    with pytest.raises(PrunusError, match=r"takes 1 inputs .* 2 tensors were given"):
        measure_onnx({"a": file}, (IMAGE, IMAGE), repeats=1)
    with pytest.raises(ConfigError, match=r"cannot be run on other \[1, 2, 4, 4\] of float32"):
        session(file, threads=1).run(None, {"other": np.zeros((1, 2, 4, 4), np.float32)})


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_types_that_the_runtime_has_no_kernels_for(
    model: nn.Module, dtype: torch.dtype, tmp_path: Path
) -> None:
    """An error of the runtime's own ended the export, and plans for a latency."""
    other, image = copy.deepcopy(model).to(dtype), IMAGE.to(dtype)
    with pytest.raises(FileFormatError, match=r"model\.onnx cannot be .*model\.float\(\)") as caught:
        export(other, image, tmp_path / "model.onnx")
    assert "failed:" not in str(caught.value) and not list(tmp_path.iterdir())
    graph = prunus.trace(other, image)
    with pytest.raises(PrunusError, match=r"model\.float\(\)"):
        prunus.plan(graph, prunus.scores.norm(graph), latency=0.8)


def test_causes() -> None:
    error = RuntimeError("above")
    error.__cause__ = ValueError("\n first. \n second")
    assert first_cause(error) == "ValueError: first"
