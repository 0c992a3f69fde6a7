"""`prunus compress`: from the command line to a file in 8 bits."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.factory import FACTORY
from typer.testing import CliRunner

from prunus.cli.app import app
from prunus.cli.compress import compress
from prunus.cli.prune import prune
from prunus.report.result import read

runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("matplotlib", reason="the extra report is not installed")

runner = CliRunner()
FILES = {"model.safetensors", "model.onnx", "model.int8.onnx", "plan.json", "report.html", "result.json"}


@pytest.fixture(autouse=True)
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own in the current directory, and no time spent on clocks."""
    import prunus.measure.comparison as comparison
    import prunus.runs.quantisation as quantisation
    from prunus.measure.timing import measure, measure_onnx

    (tmp_path / "small_net.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        comparison, "measure", lambda *given, **named: measure(*given, **(named | {"repeats": 2}))
    )
    for module in (comparison, quantisation):
        monkeypatch.setattr(
            module, "measure_onnx", lambda *given, **named: measure_onnx(*given, **(named | {"repeats": 2}))
        )


def compressed(*arguments: str) -> Any:
    return runner.invoke(
        app, ["compress", "small_net:build", "-o", "out", *arguments], catch_exceptions=False
    )


def test_one_command_prunes_recovers_and_quantises(tmp_path: Path) -> None:
    found = compressed(
        "--data", "digits", "--rate", "0.25", "--epochs", "2", "--int8", "--int8-tolerance", "20", "--json"
    )
    assert found.exit_code == 0, found.stderr
    result = json.loads(found.stdout)
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == FILES and read(folder / "result.json") == result
    panel = result["int8"]
    assert panel["quantised"] == 3 and panel["kept_float"] == [] and panel["tolerance"] == 20
    assert [trial["accepted"] for trial in panel["trials"]] == [True] and panel["sensitivities"] == []
    assert panel["held_out"] == result["model"]["data"]["validation"] > 0
    networks = {row["network"]: row for row in panel["networks"]}
    assert list(networks) == ["before", "compact", "int8"]
    assert (
        networks["int8"]["bytes"]
        == (folder / "model.int8.onnx").stat().st_size
        == result["files"]["int8"]["bytes"]
    )
    assert networks["compact"]["bytes"] == result["files"]["onnx"]["bytes"]
    steps = {step["step"]: step["value"] for step in result["accuracy"]["steps"]}
    assert networks["before"]["accuracy"] == pytest.approx(steps["before"])
    assert networks["compact"]["accuracy"] == pytest.approx(steps["after fine-tuning"])
    assert abs(networks["int8"]["accuracy"] - networks["compact"]["accuracy"]) < 5
    page = (folder / "report.html").read_text()
    assert "In 8 bits" in page and "All 3 layers compute in 8 bits" in page and "INT8 file" in page


def test_without_the_flag_it_is_prune() -> None:
    found = compressed("--data", "digits", "--rate", "0.25", "--no-onnx", "--no-report", "--json")
    assert found.exit_code == 0, found.stderr
    assert "int8" not in json.loads(found.stdout)
    assert {path.name for path in Path("out").iterdir()} == {"model.safetensors", "plan.json", "result.json"}


def test_it_takes_what_prune_takes() -> None:
    own, shared = inspect.signature(compress).parameters, inspect.signature(prune, eval_str=True).parameters
    assert {name: one for name, one in own.items() if name not in ("int8", "int8_tolerance")} == dict(shared)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--rate", "0.5", "--int8"], 1, "give --data"),
        (
            ["--rate", "0.5", "--int8", "--data", "digits", "--no-onnx"],
            1,
            "--int8 quantises the ONNX file, which --no-onnx leaves out",
        ),
        (["--int8", "--data", "digits"], 2, "Give exactly one target"),
        (["--rate", "0.5", "--data", "digits", "--int8-tolerance", "1"], 1, "add --int8"),
        (["--rate", "0.5", "--int8", "--data", "digits", "--int8-tolerance", "-1"], 2, "int8-tolerance"),
        (
            ["--rate", "0.5", "--int8", "--data", "digits", "--confidence", "2"],
            1,
            "--confidence must be from 0.5",
        ),
    ],
)
def test_what_cannot_be_done(arguments: list[str], code: int, said: str) -> None:
    found = runner.invoke(app, ["compress", "lenet5", "-o", "out", *arguments])
    assert found.exit_code == code
    assert said in " ".join(found.stderr.replace("│", " ").split())
    assert not Path("out").exists()


def test_a_missing_extra_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = runner.invoke(
        app, ["compress", "lenet5", "-o", "out", "--data", "digits", "--rate", "0.5", "--int8"]
    )
    assert (
        found.exit_code == 1
        and "pip install 'prunus[onnx]'" in found.stderr
        and "tracing" not in found.stderr
    )
