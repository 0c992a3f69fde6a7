"""What this installation can do."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest
import torch
from tests.packages import Package, package
from typer.testing import CliRunner

from prunus import runs
from prunus.cli.app import app
from prunus.runs import examination

__all__ = ["package"]


def test_it_is_json_and_what_results_say_of_the_machine() -> None:
    found = runs.doctor()
    assert json.loads(json.dumps(found)) == found
    assert found["ok"] and not found["broken"]
    assert found["versions"]["torch"] == torch.__version__ and found["threads"] == torch.get_num_threads()
    assert found["runtimes"]["torch"] == "" and set(found["runtimes"]) == set(examination.RUNTIMES)
    assert bool(found["cuda"]) == torch.cuda.is_available()


def test_extras_are_those_of_the_package() -> None:
    found = runs.doctor()["extras"]
    assert {"report", "onnx", "timm", "openvino"} <= set(found) and "dev" not in found
    assert set(found) | {"dev"} == set(metadata.metadata("prunus").get_all("Provides-Extra") or ())


def test_an_extra_lacks_what_is_not_there_or_too_old() -> None:
    numpy = metadata.version("numpy")
    requirements = [
        "numpy>=1.26",
        f"numpy>={numpy}; extra == 'here'",
        "numpy>=999.0; extra == 'old'",
        "no-such-package>=1; extra == 'gone'",
        "prunus[gone,here]; extra == 'both'",
        "numpy; extra == 'both'",
        "anything; extra == 'dev'",
    ]
    assert examination.extras(requirements) == {
        "here": [],
        "old": ["numpy>=999.0"],
        "gone": ["no-such-package>=1"],
        "both": ["no-such-package>=1"],
    }
    assert examination.required(requirements) == ["numpy"]


def test_the_command_prints_a_line_for_each(package: Package) -> None:
    package("my-scores", "", scores="mine = my_scores:it")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0, result.stderr
    assert "timing in PyTorch" in result.stdout and "mine (my-scores)" in result.stdout
    lacking = [name for name, lacks in runs.doctor()["extras"].items() if lacks]
    assert all(f"pip install 'prunus[{name}]'" in result.stdout for name in lacking)


def test_what_is_broken_is_told_and_nothing_else_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(name: str) -> str:
        return "OSError: libtorch.so is gone" if name == "torch" else ""

    monkeypatch.setattr(examination, "_import_fault", fault)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1 and "torch does not import (OSError: libtorch.so is gone)" in result.stdout
    found: dict[str, Any] = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert not found["ok"] and found["runtimes"] == {}


def test_it_runs_where_torch_does_not_import() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from prunus.cli import main; sys.argv = ['prunus', 'doctor', '--json']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert list(json.loads(done.stdout)["broken"]) == ["torch"] and "Traceback" not in done.stderr
