"""`prunus prune` and `prunus demo`, from the command line to the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.factory import FACTORY
from tests.measure.machines import Arithmetic
from typer.testing import CliRunner

import prunus
from prunus import models
from prunus.cli.app import app
from prunus.report.result import read

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("matplotlib", reason="the extra report is not installed")

runner = CliRunner()
FILES = {"model.safetensors", "model.onnx", "plan.json", "report.html", "result.json"}


def invoke(*arguments: str) -> dict[str, Any]:
    result = runner.invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A short demo."""
    import prunus.runs.demonstration as module

    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TRAINING_EPOCHS", 4)
        patch.setattr(module, "TUNING_EPOCHS", 1)
        patch.setattr(module, "TRIAL_EPOCHS", 1)
        return folder, invoke("demo", "-o", str(folder), "--tolerance", "2")


def test_the_demo_leaves_everything_behind(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, result = demo
    assert {path.name for path in folder.iterdir()} == FILES
    assert read(folder / "result.json") == result
    assert result["command"] == f"prunus demo -o {folder} --tolerance 2 --json"
    for file in result["files"].values():
        assert (folder / file["path"]).stat().st_size == file["bytes"]


def test_the_demo_keeps_its_tolerance_on_held_out_samples(demo: tuple[Path, dict[str, Any]]) -> None:
    search = demo[1]["search"]
    assert search["limit"] == pytest.approx(search["baseline"] - 2)
    for trial in search["trials"]:
        assert (
            trial["accepted"] == (search["baseline"] - trial["lowest"] <= 2)
            and trial["lowest"] <= trial["value"]
        )
    data = demo[1]["model"]["data"]
    assert data["train"] + data["validation"] + data["test"] == 1797
    assert data["test"] == demo[1]["accuracy"]["count"]


def test_the_demo_measures(demo: tuple[Path, dict[str, Any]]) -> None:
    result = demo[1]
    assert result["verification"]["exact"] and result["verification"]["relative"] < 1e-5
    assert [row["runtime"] for row in result["latency"]] == ["PyTorch", "ONNX Runtime"]
    assert [step["step"] for step in result["accuracy"]["steps"]] == [
        "before",
        "after removal",
        "after compensation",
        "after fine-tuning",
    ]
    assert any("Nothing to recalibrate" in note for note in result["notes"])
    assert result["accuracy"]["steps"][0]["value"] > 80
    assert [len(stage["epochs"]) for stage in result["training"]] == [4, 1]
    assert result["cost"]["after"]["macs"] < result["cost"]["before"]["macs"]


def test_the_compact_model_comes_back(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, result = demo
    options = result["model"]["options"]
    model = prunus.load(folder / "model.safetensors", lambda: models.build("lenet5", **options))
    assert sum(parameter.numel() for parameter in model.parameters()) == result["cost"]["after"]["params"]
    plan = prunus.Plan.from_json((folder / "plan.json").read_text())
    assert plan.after.macs == result["cost"]["after"]["macs"]


def test_the_folder_can_be_named_like_a_model(demo: tuple[Path, dict[str, Any]]) -> None:
    folder, result = demo
    shown = invoke("profile", str(folder))
    assert shown["cost"]["macs"] == result["cost"]["after"]["macs"]
    shown = invoke("compare", str(folder), str(folder / "model.safetensors"), "--data", "digits", "--no-onnx")
    assert shown["difference"]["max_abs"] == 0
    assert shown["accuracy"]["a"] == pytest.approx(result["accuracy"]["steps"][-1]["value"])


def test_a_compact_model_is_pruned_again(demo: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, first = demo
    again = tmp_path / "again"
    second = invoke(
        "prune",
        str(folder),
        "-o",
        str(again),
        *"--data digits --rate 0.5 --no-onnx --no-report".split(),
    )
    assert second["cost"]["before"] == first["cost"]["after"]
    assert invoke("profile", str(again))["cost"]["macs"] == second["cost"]["after"]["macs"]


def test_a_network_with_batch_norm_is_recalibrated(tmp_path: Path) -> None:
    result = invoke(
        "prune", "conv_with_norm:build", "-o", str(tmp_path / "out"), "--data", "digits", "--macs", "0.5",
        "--scope", "uniform", "--epochs", "1", "--no-onnx", "--no-report",
    )  # fmt: skip
    steps = [step["step"] for step in result["accuracy"]["steps"]]
    assert steps == [
        "before",
        "after removal",
        "after compensation",
        "after recalibration",
        "after fine-tuning",
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES - {"model.onnx", "report.html"}
    before, after = result["cost"]["before"]["macs"], result["cost"]["after"]["macs"]
    assert 0.3 * before < after <= 0.5 * before
    assert result["target"]["text"] == "50 % of its MACs"


@pytest.fixture(autouse=True)
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own in the current directory."""
    (tmp_path / "conv_with_norm.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "score", ["norm-l1", "bn-scale", "geometric-median", "taylor", "activation-mean", "random"]
)
def test_every_score(tmp_path: Path, score: str) -> None:
    result = invoke(
        "prune", "conv_with_norm:build", "-o", str(tmp_path / "out"), "--data", "digits", "--rate", "0.5",
        "--score", score, "--no-onnx", "--no-report",
    )  # fmt: skip
    assert result["target"]["score"] == score
    assert [layer["width_after"] for layer in result["layers"]] == [8, 8, 10]


def test_without_data_nothing_but_the_function_is_checked(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.manual_seed(1)
    torch.save(models.resnet20().state_dict(), weights)
    result = invoke(
        "prune", f"resnet20@{weights}", "-o", str(tmp_path / "out"), "--params", "0.6", "--round-to", "4",
        "--protect", "layer1*", "--scope", "global", "--score", "norm-l1", "--no-onnx", "--no-report",
    )  # fmt: skip
    assert result["accuracy"] is None and result["search"] is None and result["training"] == []
    assert result["verification"]["relative"] < 1e-4
    assert result["cost"]["after"]["params"] <= 0.6 * result["cost"]["before"]["params"]
    assert result["target"]["protect"] == ["layer1*"]
    layers = {layer["name"]: layer for layer in result["layers"]}
    assert layers["layer1.0.conv1"]["width_after"] == 16
    assert all(layer["width_after"] % 4 == 0 for name, layer in layers.items() if "conv" in name)


def test_the_table_at_the_end(tmp_path: Path) -> None:
    arguments = "prune conv_with_norm:build -o out --input-shape 1,1,8,8 --rate 0.5 --no-onnx".split()
    result = runner.invoke(app, [*arguments, "--no-report"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "smaller" in result.stdout and "MACs" in result.stdout and "result.json" in result.stdout
    assert "compacting" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "Give exactly one target"),
        (["--rate", "0.5", "--macs", "0.5"], 2, "given: --rate and --macs"),
        (["--tolerance", "1"], 1, "--tolerance is kept on held-out samples: give --data"),
        (["--rate", "0.5", "--epochs", "1"], 1, "--epochs fine-tunes on training samples: give --data"),
        (["--rate", "0.5", "--score", "taylor"], 1, "taylor looks at training samples: give --data"),
        (["--rate", "0.5", "--score", "l3"], 2, "l3"),
        (
            ["--rate", "0.5", "--round-to", "nearest"],
            2,
            "--round-to is a number of channels or auto, not 'nearest'",
        ),
        (
            ["--latency", "fast", "--runtime", "torch"],
            1,
            "latency is a share up to 1.0, milliseconds as in '12ms'",
        ),
        (["--macs", "0.0001"], 1, "smallest reachable"),
        (["--rate", "0.5", "--protect", "nothing*"], 1, "matches no"),
        (["--rate", "0.5", "--weights", "nothing.pt"], 1, "There is no weight file nothing.pt"),
        (["--rate", "0.5", "--data", "digits", "--mean", "1,2"], 1, "--mean takes one number per plane"),
    ],
)
def test_what_cannot_be_done(arguments: list[str], code: int, said: str) -> None:
    result = runner.invoke(app, ["prune", "lenet5", "-o", "out", "--no-onnx", "--no-report", *arguments])
    assert result.exit_code == code
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert not Path("out").exists()


def test_a_folder_that_cannot_be_is_told_before_the_work() -> None:
    Path("out").write_text("a file")
    for folder in ("out", "out/deeper"):
        result = runner.invoke(app, ["demo", "-o", folder])
        assert result.exit_code == 1
        assert "out is a file: the results need a folder" in result.stderr and "training" not in result.stderr


def test_a_missing_extra_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = runner.invoke(app, ["demo", "-o", "out"])
    assert result.exit_code == 1
    assert "pip install 'prunus[onnx]'" in result.stderr and "training" not in result.stderr


def test_files_of_an_earlier_run_are_not_left_beside_another_network(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    invoke("prune", "lenet5", "--rate", "0.5", "-o", str(folder))
    assert {path.name for path in folder.iterdir()} == FILES
    (folder / "model.int8.onnx").write_bytes(b"of an earlier run")
    (folder / "notes.txt").write_text("mine")
    invoke("prune", "lenet5", "--rate", "0.3", "-o", str(folder), "--no-onnx", "--no-report")
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors",
        "plan.json",
        "result.json",
        "notes.txt",
    }


WIDE = FACTORY.replace("16", "64")


def test_a_time_is_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prunus.measure import machine

    monkeypatch.setattr(machine, "Here", lambda runtime, threads, **_: Arithmetic())
    (tmp_path / "wide.py").write_text(WIDE)
    monkeypatch.syspath_prepend(tmp_path)
    result = invoke(
        *"prune wide:build --input-shape 1,1,12,12 --latency 0.5 -o".split(),
        str(tmp_path / "out"),
        "--no-onnx",
    )
    assert result["target"]["text"] == "take 50 % of its time in ONNX Runtime"
    assert (
        result["timings"][-1]["accepted"]
        and result["timings"][-1]["measured_ms"] <= 0.5 * result["timings"][-1]["dense_ms"]
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "How the time was kept" in page and ">chosen<" in page
    rounded = invoke(
        *"prune wide:build --input-shape 1,1,12,12 --rate 0.4 --round-to auto -o".split(),
        str(tmp_path / "out"),
        "--no-onnx",
    )
    assert {row["width_after"] % 16 for row in rounded["layers"][:-1]} == {0}
    assert not rounded["timings"]


RESIDUAL = """
from prunus.models.resnet import CifarResNet


def build():
    return CifarResNet(2, in_channels=1)
"""


def test_blocks_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "short_nets.py").write_text(RESIDUAL)
    monkeypatch.chdir(tmp_path)
    common = ["prune", "short_nets:build", "--data", "digits", "--limit", "150"]
    common += ["--blocks", "2", "--epochs", "1"]
    alone = invoke(*common, "--teach", "--no-onnx", "-o", "alone")
    assert (
        alone["target"]["text"] == "do without 2 residual blocks"
        and "residual blocks, one after the other" in alone["notes"][0]
    )
    assert alone["cost"]["after"]["params"] < alone["cost"]["before"]["params"]
    assert "Pruned to do without 2 residual blocks." in (tmp_path / "alone" / "report.html").read_text()
    both = invoke(*common, "--rate", "0.5", "--no-onnx", "--no-report", "-o", "both")
    assert both["target"]["text"] == "lose 50 % of its channels, 2 residual blocks left out before,"
    assert (
        both["cost"]["before"] == alone["cost"]["before"]
        and both["cost"]["after"]["macs"] < alone["cost"]["after"]["macs"]
    )
    decayed = invoke(
        *common,
        *"--rate 0.5 --weight-decay 0.1 --evenly --no-onnx --no-report -o decayed".split(),
    )
    assert (
        decayed["training"][0]["config"]["weight_decay"] == 0.1
        and "of every stage alike" in decayed["notes"][0]
    )
    shown = json.loads(
        runner.invoke(app, ["profile", "both", "--build", "short_nets:build", "--json"]).stdout
    )
    assert shown["cost"]["macs"] == both["cost"]["after"]["macs"]
    for arguments, message in (
        (["--blocks", "1"], "give --data"),
        (["--evenly", "--rate", "0.5"], "give --blocks"),
        (["--data", "digits", "--rate", "0.5", "--teach"], "give --epochs"),
    ):
        refused = runner.invoke(app, ["prune", "short_nets:build", *arguments, "-o", "no"])
        assert refused.exit_code != 0 and message in " ".join(
            (refused.output + str(refused.exception)).split()
        )
    assert not (tmp_path / "no").exists()
