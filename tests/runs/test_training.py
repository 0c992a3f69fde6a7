"""A whole training, called from Python: by its recipe, and by no other where it is resumed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from prunus import runs
from prunus.errors import ConfigError, FileFormatError
from prunus.runs.records import TRAINING_FILE, read_training
from prunus.runs.run import METRICS, noted
from prunus.runs.training import recipe_of


def test_a_training_goes_by_its_recipe(tmp_path: Path) -> None:
    recipe = runs.Recipe("digits", "lenet5", epochs=1, lr=0.05, limit=100)
    found = runs.train(recipe, tmp_path)
    assert found == read_training(tmp_path / TRAINING_FILE) and found["model"]["data"]["train"] <= 100
    with pytest.raises(ConfigError, match="--resume goes on with it"):
        runs.train(recipe, tmp_path)
    assert runs.train(recipe, tmp_path, resume=True)["accuracy"] == found["accuracy"]
    with pytest.raises(ConfigError, match=r"was begun with lr = 0\.05, not 0\.1"):
        runs.train(runs.Recipe("digits", "lenet5", epochs=1, limit=100), tmp_path, resume=True)
    with pytest.raises(ConfigError, match="The recipe: lr must be above 0"):
        runs.train(runs.Recipe("digits", "lenet5", lr=-1.0), tmp_path / "other")


@pytest.mark.parametrize("method", ["none", "dynamic"])
def test_a_network_is_trained_on_as_it_was_trained(tmp_path: Path, method: str) -> None:
    """The data's own mean was taken, so that the first epochs saw other inputs than the weights were for."""
    first = runs.Recipe("digits", "lenet5", epochs=1, limit=100, mean="0.25", std="0.5")
    runs.train(first, tmp_path / "first")
    said: list[str] = []

    class Watch:
        def __call__(self, step: str, done: int, total: int) -> None: ...

        def say(self, text: str) -> None:
            said.append(text)

    again = runs.Recipe("digits", str(tmp_path / "first"), epochs=1, limit=100, method=method)
    found = runs.train(again, tmp_path / "again", watch=Watch())
    assert found["model"]["data"] | {"mean": [0.25], "std": [0.5]} == found["model"]["data"]
    assert "normalised as" in said[-1] and "--mean and --std say otherwise" in said[-1]
    typed = replace(again, mean="0.3", std="0.4")
    assert runs.train(typed, tmp_path / "typed")["model"]["data"]["mean"] == [0.3]
    found = runs.find_lr(replace(again, method="none"), watch=Watch())
    assert found["lr"] > 0 and "normalised as" in said[-1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_damaged_metrics_end_no_resumed_training(tmp_path: Path) -> None:
    """Bytes that are no text were an error after the first epoch, and a pipe was waited for without end."""
    recipe = runs.Recipe("digits", "lenet5", epochs=1, limit=100)
    found = runs.train(recipe, tmp_path)["accuracy"]
    metrics = tmp_path / METRICS
    metrics.write_bytes(b"\xff\xfe\n")
    assert noted(metrics) == "\ufffd\ufffd\n" and noted(tmp_path / "none") == ""
    assert runs.train(recipe, tmp_path, resume=True)["accuracy"] == found
    metrics.unlink()
    os.mkfifo(metrics)
    with pytest.raises(FileFormatError, match=r"metrics\.jsonl is a named pipe"):
        runs.train(recipe, tmp_path, resume=True)


def test_what_was_given_goes_before_what_a_file_says(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('data = "digits"\nmodel = "lenet5"\nlr = 0.05\nepochs = 3\n')
    found = recipe_of({"epochs": 5}, file, tmp_path / "run")
    assert (found.data, found.lr, found.epochs) == ("digits", 0.05, 5)
    assert not (tmp_path / "run").exists()


def test_code_that_only_a_folder_names_is_not_called(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    (tmp_path / "recipe.toml").write_text('data = "mine:task"\nmodel = "lenet5"\n')
    with pytest.raises(ConfigError, match="prunus does not call what a file names"):
        recipe_of({}, None, tmp_path, resume=True)
    assert recipe_of({"data": "mine:task"}, None, tmp_path, resume=True).data == "mine:task"
