"""`prunus pack` and `prunus unpack`."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from tests.cli.factory import FACTORY
from typer.testing import CliRunner

from prunus import storage
from prunus.cli.app import app

runner = CliRunner()


def test_a_network_is_packed_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packed_net.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    file, out, network = tmp_path / "model.prunus", tmp_path / "model.safetensors", "packed_net:build"
    options = ["--data", "digits", "--limit", "100", "--samples", "32", "--bytes", "1500", "--bare"]
    done = runner.invoke(app, ["pack", network, *options, "-o", str(file)], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "3.weight" in text and "× smaller" in text
    assert file.stat().st_size <= 1500
    named = ["--build", network, "--json"]
    done = runner.invoke(app, ["unpack", str(file), "-o", str(out), *named], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["path"], found["bytes"]) == (str(out), out.stat().st_size)


def test_a_network_of_the_users_own_is_unpacked_with_what_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unpacked_net.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    storage.save_coded(importlib.import_module("unpacked_net").build(), {}, "model.prunus")
    done = runner.invoke(app, ["unpack", "model.prunus", "-o", "model.safetensors"], catch_exceptions=False)
    assert done.exit_code == 1 and "give --build NAME" in " ".join(done.stderr.split())
    named = ["--build", "unpacked_net:build"]
    done = runner.invoke(app, ["unpack", "model.prunus", "-o", "model.safetensors", *named])
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "model.safetensors").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pack", "lenet5", "--data", "digits", "--bytes", "many"], "no size; write 200kB"),
        (["pack", "lenet5", "--data", "digits", "--epochs", "2"], "give both, or neither"),
        (["pack", "lenet5", "--data", "digits", "--bits", "4", "--error", "0.1"], "not bits and error"),
        (["unpack", "nothing.prunus"], "does not exist"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    out = tmp_path / ("model.onnx" if arguments[0] == "unpack" else "model.prunus")
    done = runner.invoke(app, [*arguments, "-o", str(out)], catch_exceptions=False)
    assert done.exit_code == 1
    assert sentence in " ".join(done.stderr.split())
    assert not out.exists()
