"""`prunus train --method NAME` for every method that has no file of its own here, and what its help lists."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prunus.cli.app import app
from prunus.methods import METHODS
from prunus.methods.settings import settings_of

RESIDUAL = """
from prunus.models.resnet import CifarResNet


def build():
    return CifarResNet(1, in_channels=1)
"""
SHORT = "--epochs 1 --batch-size 256 --lr 0.02 --validation 0.3 --no-onnx --no-report".split()
METHOD_FLAGS = {
    "one-shot": ["--rate", "0.5", "--score", "norm-l1", "--compensate", "none"],
    "greedy-norm": ["--rate", "0.4", "--protect", "conv1", "--tune-epochs", "1"],
    "snip": ["--macs", "0.5"],
    "slimming": ["--rate", "0.4", "--strength", "1e-3", "--scope", "uniform"],
    "selective-decay": ["--rate", "0.5", "--last", "1", "--every", "3"],
    "channels-and-layers": ["--strength", "100"],
    "fewer-blocks": ["--blocks", "1", "--evenly", "--tune-epochs", "1"],
    "adversarial": ["--strength", "30", "--every", "1"],
    "autoprune": ["--strength", "10", "--gate-lr", "0.05"],
    "play-and-prune": ["--tolerance", "60", "--delta", "0.02", "--rounds", "1"],
    "thresholds": ["--strength", "300"],
}


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["train", *arguments])
    return (
        result.output if result.exit_code == 0 else f"{result.exit_code}: {' '.join(result.output.split())}"
    )


def test_every_method_is_run_here_or_in_a_file_of_its_own() -> None:
    assert set(METHOD_FLAGS) | {"soft", "history", "importance", "dynamic"} == set(METHODS)


@pytest.mark.parametrize("method", METHOD_FLAGS)
def test_a_method_leaves_a_folder(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = "residual:build" if method in ("slimming", "fewer-blocks") else "lenet5"
    (tmp_path / "residual.py").write_text(RESIDUAL)
    monkeypatch.syspath_prepend(tmp_path)
    run("digits", network, "--method", method, *SHORT, *METHOD_FLAGS[method], "-o", str(tmp_path / "out"))
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["cost"]["after"]["macs"] < result["cost"]["before"]["macs"]
    assert result["verification"]["relative"] < 1e-4 and result["accuracy"]["steps"]
    assert result["training"][0]["name"] == "training"
    recipe = tomllib.loads((tmp_path / "out" / "recipe.toml").read_text())
    assert recipe["method"] == method
    assert METHOD_FLAGS[method][0].removeprefix("--").replace("-", "_") in recipe


@pytest.mark.parametrize("method", METHODS)
def test_help_lists_the_settings_of_the_method_that_is_named(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    text = run("--method", method, "--help")
    assert f"Settings of --method {method}" in text
    for name, setting in settings_of(method).items():
        assert f"--{name.replace('_', '-')}" in text
        assert setting.about.split(";")[0].split(" ")[-1] in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--rate", "0.3"],
            (
                "--rate is a setting of --method one-shot, greedy-norm, snip, soft, history, slimming,"
                " selective-decay: give the method"
            ),
        ),
        (
            ["--method", "slimming", "--mu", "1"],
            "--mu is a setting of --method adversarial: give the method that is meant.",
        ),
        (["--method", "slimming", "--scope", "wide"], "--scope must be one of uniform, global, not 'wide'."),
        (["--method", "adversarial", "--mu", "-1"], "--mu must be from 0"),
        (["--method", "play-and-prune", "--validation", "0"], "validation must be above 0"),
        (["--method", "slimming", "--select", "random"], "trains on all samples"),
        (["--method", "slim"], "--method must be one of none, one-shot"),
    ],
)
def test_settings_that_do_not_belong_together_are_told(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    assert says in run("digits", "lenet5", *arguments, "-o", str(tmp_path))


OWN = """
import torch
from torch import nn

from prunus import Task


def heights():
    draw = torch.Generator().manual_seed(0)
    pairs = [(x := torch.randn(20, 2, 16, generator=draw), x.mean((1, 2))[:, None]) for _ in range(8)]
    off = lambda outputs, targets: -(outputs - targets).abs().mean(1)
    return Task(pairs[:4], pairs[4:6], pairs[6:], loss=nn.functional.mse_loss, metric=off, name="heights")


def build():
    return nn.Sequential(nn.Conv1d(2, 12, 3), nn.BatchNorm1d(12), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 1))
"""


@pytest.mark.parametrize(
    ("method", "flags"),
    [("soft", ["--rate", "0.5"]), ("play-and-prune", ["--tolerance", "50", "--delta", "0.02"])],
)
def test_a_task_of_ones_own_is_pruned_by_any_method(
    method: str, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_heights.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--epochs", "2", "--lr", "0.02", "--no-onnx", "--no-report", "-o", str(tmp_path / "out")]
    said = run("own_heights:heights", "own_heights:build", "--method", method, *flags, *options)
    assert (tmp_path / "out" / "result.json").exists(), said
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["cost"]["after"]["macs"] < result["cost"]["before"]["macs"]
    refused = run(
        *"own_heights:heights own_heights:build --method dynamic".split(),
        *options[:-1],
        str(tmp_path / "other"),
    )
    assert "--method dynamic is for images with classes" in refused
