"""`prunus cascade`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from prunus import data, models
from prunus.cli.app import app
from prunus.deploy.onnx_file import taken
from prunus.training import TrainConfig, evaluate, train

runner = CliRunner()


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A trained LeNet-5 on the embedded digits, and what is left of it after half of its channels went."""
    folder = tmp_path_factory.mktemp("stages")
    digits = data.load("digits")
    kept, _ = digits.hold_out(0.1, 0)
    torch.manual_seed(0)
    large = models.lenet5(image_size=8)
    train(large, kept, TrainConfig(epochs=4, batch_size=64, lr=0.05), normalise=digits.normalise)
    torch.save(large.state_dict(), folder / "large.pt")
    name = f"lenet5@{folder / 'large.pt'}"
    pruning = [
        "prune",
        name,
        *"--data digits --rate 0.8 --epochs 2 --no-onnx --no-report -o".split(),
        str(folder / "small"),
    ]
    assert runner.invoke(app, pruning, catch_exceptions=False).exit_code == 0
    return [str(folder / "small"), name]


def ask(stages: list[str], *more: str) -> dict[str, object]:
    arguments = ["cascade", *stages, "--data", "digits", *more]
    result = runner.invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    shown: dict[str, object] = json.loads(result.stdout)
    return shown


def test_a_budget(stages: list[str], tmp_path: Path) -> None:
    shown = ask(stages, "--budget", "0.6", "-o", str(tmp_path / "cascade.onnx"), "--dynamic-batch")
    test, held = shown["test"], shown["held_out"]
    assert isinstance(test, dict) and isinstance(held, dict)
    assert held["macs"] <= 0.6 and test["samples"] == 355
    assert sum(test["answered"]) == pytest.approx(1) and 0 < test["answered"][0] < 1
    digits = data.load("digits")
    large = models.lenet5(image_size=8)
    models.load_weights(large, Path(stages[1].partition("@")[2]))
    assert test["alone"][1] == pytest.approx(evaluate(large, digits.test, digits.normalise).accuracy)
    latency = shown["latency"]
    assert isinstance(latency, list) and [(row["runtime"], row["network"]) for row in latency] == [
        ("PyTorch", "last stage"),
        ("PyTorch", "cascade"),
        ("ONNX Runtime", "last stage"),
        ("ONNX Runtime", "cascade"),
    ]
    assert taken(tmp_path / "cascade.onnx")[0].shape[0] is None


def test_a_tolerance(stages: list[str]) -> None:
    shown = ask(stages, "--tolerance", "1.0")
    held = shown["held_out"]
    assert isinstance(held, dict) and held["accuracy"] >= held["alone"][1] - 1.0 and shown["onnx"] is None


def test_what_is_shown(stages: list[str]) -> None:
    shown = runner.invoke(
        app, ["cascade", *stages, "--data", "digits", "--budget", "0.6"], catch_exceptions=False
    ).stdout
    assert "Sure is a margin of 0." in shown and "cascade" in shown and "one input at a time" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "digits"], "Exactly one of --budget and --tolerance"),
        (
            ["--data", "digits", "--budget", "0.5", "--tolerance", "1"],
            "Exactly one of --budget and --tolerance",
        ),
        (["--budget", "0.5"], "give --data"),
        (["--data", "digits", "--budget", "0.5", "--held-out", "1"], "between 0 and 1"),
        (["--data", "digits", "--budget", "0.01"], "the first stage alone"),
    ],
)
def test_errors_are_sentences(stages: list[str], arguments: list[str], said: str) -> None:
    result = runner.invoke(app, ["cascade", *stages, *arguments])
    assert result.exit_code == 1 and said in result.stderr


def test_the_order_matters(stages: list[str]) -> None:
    result = runner.invoke(app, ["cascade", *reversed(stages), "--data", "digits", "--budget", "0.5"])
    assert result.exit_code == 1 and "each dearer than the one before" in result.stderr
