"""`prunus profile` and `prunus compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from prunus import models
from prunus.cli.app import app

runner = CliRunner()


def test_profile_adds_up() -> None:
    shown = json.loads(runner.invoke(app, ["profile", "lenet5", "--json"], catch_exceptions=False).stdout)
    layers = {layer["name"]: layer for layer in shown["layers"]}
    assert list(layers) == ["conv1", "conv2", "fc1", "fc2"]
    assert layers["conv2"]["weight_shape"] == [50, 20, 5, 5]
    assert layers["conv2"]["output_shape"] == [1, 50, 8, 8]
    assert [layer["params_before"] for layer in layers.values()] == [520, 25_050, 400_500, 5_010]
    assert sum(layer["macs_before"] for layer in layers.values()) == shown["cost"]["macs"] == 2_293_000
    assert sum(layer["params_before"] for layer in layers.values()) == shown["cost"]["params"] == 431_080
    assert shown["model"]["input_shape"] == [1, 1, 28, 28]


def test_profile_shows_shares() -> None:
    shown = runner.invoke(app, ["profile", "lenet5"]).stdout.replace("\u202f", " ")
    assert "69.8 %" in shown and "20×1×5×5" in shown and "2.29 M MACs" in shown


def test_profile_at_another_shape() -> None:
    shown = json.loads(
        runner.invoke(app, ["profile", "resnet20", "--input-shape", "2,3,64,64", "--json"]).stdout
    )
    once = json.loads(runner.invoke(app, ["profile", "resnet20", "--json"]).stdout)
    convolutions = [layer["macs_before"] for layer in shown["layers"] if layer["op"] == "convolution"]
    assert convolutions == [
        8 * layer["macs_before"] for layer in once["layers"] if layer["op"] == "convolution"
    ]


def test_comparing_a_model_with_itself(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.manual_seed(0)
    torch.save(models.lenet5(image_size=8).state_dict(), path)
    same = f"lenet5@{path}"
    result = runner.invoke(
        app, ["compare", same, same, "--data", "digits", "--no-onnx", "--json"], catch_exceptions=False
    )
    shown = json.loads(result.stdout)
    assert shown["difference"] == {"max_abs": 0.0, "relative": 0.0}
    assert shown["cost"]["a"] == shown["cost"]["b"]
    assert shown["accuracy"]["a"] == shown["accuracy"]["b"]
    assert shown["accuracy"]["count"] == 355
    assert [row["runtime"] for row in shown["latency"]] == ["PyTorch"]


def test_comparing_two_models() -> None:
    result = runner.invoke(app, ["compare", "resnet20", "resnet32", "--no-onnx"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "The weights of resnet20 are random" in result.stdout
    assert "MACs" in result.stdout and "Outputs differ by at most" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "lenet5", "resnet20", "--no-onnx"], "give --input-shape for both"),
        (["compare", "lenet5", "lenet5", "--data", "cifer10"], "Did you mean cifar10"),
        (["compare", "lenet5", "lenet5", "resnet20"], "lenet5 is not the folder of a run"),
        (["profile", "resnet20", "--input-shape", "1,4,32,32"], "fails at resnet.py:"),
        (["profile", "lenet5", "--input-shape", "1,1,2,2"], "image_size must be at least 4"),
    ],
)
def test_what_cannot_be_compared(arguments: list[str], said: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert said in result.stderr


def test_one_model_is_no_comparison() -> None:
    result = runner.invoke(app, ["compare", "lenet5"])
    assert result.exit_code == 2 and "Give two models" in result.stderr


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training, and two prunings of what came out."""
    root = tmp_path_factory.mktemp("runs")
    commands = [["train", "digits", "lenet5", "--epochs", "1", "-o", str(root / "dense")]]
    commands += [
        [
            "prune",
            str(root / "dense"),
            "--data",
            "digits",
            "--macs",
            part,
            "--score",
            "norm-l2",
            "-o",
            str(root / part),
        ]
        for part in ("0.5", "0.2")
    ]
    for command in commands:
        runner.invoke(app, [*command, "--no-onnx", "--no-report"], catch_exceptions=False)
    return root


def test_comparing_runs(folders: Path, tmp_path: Path) -> None:
    names, page = [str(folders / name) for name in ("dense", "0.5", "0.2")], tmp_path / "compare.html"
    result = runner.invoke(app, ["compare", *names, "-o", str(page), "--json"], catch_exceptions=False)
    shown = json.loads(result.stdout)
    assert [(point["name"], point["original"]) for point in shown["points"]] == [
        ("dense", True),
        ("0.5", False),
        ("0.2", False),
    ]
    dense, half, fifth = shown["points"]
    assert dense["macs"] > half["macs"] > fifth["macs"] and half["macs"] <= dense["macs"] / 2
    assert shown["samples"] == 355 and shown["runtime"] == "PyTorch" and "0.2" in shown["fronts"]["macs"]
    assert "Accuracy against latency" in page.read_text() and shown["choice"] in page.read_text()


def test_comparing_runs_without_a_page(folders: Path) -> None:
    result = runner.invoke(
        app, ["compare", *(str(folders / name) for name in ("dense", "0.5", "0.2"))], catch_exceptions=False
    )
    assert "0.5" in result.stdout and "one standard error is" in result.stdout


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text("[1, 2]")
    result = runner.invoke(app, ["compare", str(tmp_path), str(tmp_path), "-o", str(tmp_path / "page.html")])
    assert result.exit_code == 1 and "cannot be read as the record of a training" in result.stderr
