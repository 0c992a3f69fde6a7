"""`prunus export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from prunus import models
from prunus.cli.app import app

runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
runner = CliRunner()


def test_a_file_for_any_batch(tmp_path: Path) -> None:
    weights, file = tmp_path / "weights.pt", tmp_path / "out" / "model.onnx"
    model = models.lenet5().eval()
    torch.save(model.state_dict(), weights)
    done = runner.invoke(
        app,
        ["export", "lenet5", "--weights", str(weights), "-o", str(file), "--dynamic-batch", "--json"],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["path"], result["bytes"]) == (str(file), file.stat().st_size)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        x = torch.randn(batch, 1, 28, 28)
        found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
        torch.testing.assert_close(found, model(x).detach(), rtol=1e-4, atol=1e-5)


def test_what_it_says(tmp_path: Path) -> None:
    done = runner.invoke(
        app, ["export", "lenet5", "-o", str(tmp_path / "model.onnx")], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "input 1×1×28×28" in done.stdout and "differ by at most" in done.stdout.replace("\n", " ")


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    done = runner.invoke(
        app, ["export", "lenet6", "-o", str(tmp_path / "model.onnx")], catch_exceptions=False
    )
    assert done.exit_code == 1 and "There is no model 'lenet6'" in done.stderr
    assert not list(tmp_path.iterdir())
