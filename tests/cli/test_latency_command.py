"""`prunus latency`: what is timed, what is left out, and what is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from prunus import models
from prunus.cli.app import app
from prunus.deploy import onnx, onnx_file
from prunus.measure import runtimes
from prunus.measure.timing import Latency

runner = CliRunner()
exports = pytest.mark.skipif(
    find_spec("onnxruntime") is None or find_spec("onnxscript") is None,
    reason="the extra onnx is not installed",
)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Nothing is measured: the second model is always twice as fast, and what was asked for is kept."""
    asked: list[dict[str, Any]] = []

    def time_models(networks: Mapping[str, Any], inputs: torch.Tensor, **settings: Any) -> dict[str, Latency]:
        asked.append({"networks": dict(networks), "shape": tuple(inputs.shape), **settings})
        rounds = settings["repeats"]
        return {
            name: Latency(value, value, value, rounds, (value,) * rounds)
            for name, value in ((name, 2.0 / 2**i) for i, name in enumerate(networks))
        }

    monkeypatch.setattr(runtimes, "time_models", time_models)
    return asked


def run(*arguments: str) -> Any:
    return runner.invoke(app, ["latency", *arguments])


def test_models_are_timed_together_at_every_batch(timed: list[dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "latency.json"
    result = run(
        *"resnet20 resnet32 --runtime torch --batch 1 --batch 8 --threads 2 --repeats 20 --json -o".split(),
        str(file),
    )
    shown = json.loads(result.stdout)
    assert shown == json.loads(file.read_text())
    assert [one["shape"] for one in timed] == [(1, 3, 32, 32), (8, 3, 32, 32)]
    assert all(
        list(one["networks"]) == ["resnet20", "resnet32"] and one["threads"] == 2 and one["repeats"] == 20
        for one in timed
    )
    rows = shown["latency"]
    assert [(row["runtime"], row["batch"], row["model"]) for row in rows] == [
        ("torch", b, m) for b in (1, 8) for m in ("resnet20", "resnet32")
    ]
    assert rows[0]["speedup"] is None and rows[1]["speedup"] == {"factor": 2.0, "wins": 1.0, "certain": True}
    assert rows[1]["median_ms"] == 1.0 and len(rows[1]["samples_ms"]) == 20
    assert (
        shown["environment"]["versions"]["torch"] == torch.__version__ and "cpu_flags" in shown["environment"]
    )
    assert shown["models"]["resnet32"]["class"] == "CifarResNet"


@pytest.mark.usefixtures("timed")
def test_the_table_says_what_is_certain() -> None:
    shown = run("resnet20", "resnet32", "--runtime", "torch").stdout
    assert "2.0× faster" in shown and "1 thread;" in shown
    assert "within the noise" in run("resnet20", "resnet32", "--runtime", "torch", "--repeats", "3").stdout


def test_one_model_twice_and_another_shape(timed: list[dict[str, Any]]) -> None:
    assert run("resnet20", "resnet20", "--runtime", "torch", "--input-shape", "2,3,64,64").exit_code == 0
    assert timed[0]["shape"] == (2, 3, 64, 64) and list(timed[0]["networks"]) == ["resnet20", "resnet20 (2)"]


def test_what_is_not_here_is_named(timed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    monkeypatch.setattr(onnx_file, "_importable", lambda name: False)
    result = run("resnet20")
    assert [one["runtime"] for one in timed] == ["torch"]
    notes = [line for line in result.stdout.splitlines() if line.startswith("Note: ")]
    assert [note.split(":")[1] for note in notes] == [
        " Without onnxruntime",
        " Without openvino",
        " Without torch-cuda",
    ]
    assert "pip install 'prunus[openvino]'" in notes[1]
    for name, said in (
        ("openvino", "prunus[openvino]"),
        ("onnxruntime", "prunus[onnx]"),
        ("torch-cuda", "no GPU"),
    ):
        result = run("resnet20", "--runtime", "torch", "--runtime", name)
        assert result.exit_code == 1 and said in result.stderr


@exports
def test_files_and_models_together(timed: list[dict[str, Any]], tmp_path: Path) -> None:
    model = models.lenet5(image_size=8)
    file = onnx.export(model, torch.randn(4, 1, 8, 8), tmp_path / "small.onnx").path
    free = onnx.export(model, torch.randn(2, 1, 8, 8), tmp_path / "free.onnx", dynamic_batch=True).path
    result = run(str(file), str(free), "--json")
    shown = json.loads(result.stdout)
    assert {row["runtime"] for row in shown["latency"]} >= {"onnxruntime"} and not any(
        "torch" in row["runtime"] for row in shown["latency"]
    )
    assert timed[0]["shape"] == (4, 1, 8, 8) and list(timed[0]["networks"].values()) == [file, free]
    assert any(note.startswith("Without torch: ") and "is an ONNX file" in note for note in shown["notes"])
    result = run(str(file), "--batch", "1")
    assert result.exit_code == 1 and "takes batches of 4 and no others" in result.stderr
    result = run(str(file), "lenet5", "--input-shape", "4,1,8,8", "--runtime", "torch")
    assert result.exit_code == 1 and "is an ONNX file" in result.stderr


def test_it_really_measures() -> None:
    shown = json.loads(
        run("lenet5", "--input-shape", "1,1,8,8", "--runtime", "torch", "--repeats", "2", "--json").stdout
    )
    assert shown["latency"][0]["repeats"] == 2 and shown["latency"][0]["median_ms"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["lenet5", "resnet20"],
            "lenet5 takes 1×1×28×28 and resnet20 takes 1×3×32×32: give --input-shape for all.",
        ),
        (["nothing.onnx"], "nothing.onnx cannot be read as an ONNX file: there is no such file."),
        (["resnet21"], "resnet21"),
    ],
)
def test_what_cannot_be_timed(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1 and said in result.stderr
