"""`prunus train --method dynamic` and what other commands make of its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.cli.test_training import RUN, SHORT, done, invoke

from prunus import data
from prunus.cli.app import app
from prunus.deploy.onnx_file import runner
from prunus.errors import PrunusError
from prunus.runs import gated as runs_gated
from prunus.runs.loading import open_model
from prunus.training import batches

GATES = "digits lenet5 --batch-size 64 --epochs 2 --method dynamic --gated conv* --gated fc1".split()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file of a network that was trained without gates."""
    folder = tmp_path_factory.mktemp("plain")
    assert done(*SHORT, "-o", str(folder))["accuracy"] > 80
    return str(folder / "model.safetensors")


def settings(plain: str) -> list[str]:
    """A training with few MACs, and nothing written that takes long."""
    return [*GATES, "--weights", plain, "--budget", "0.4", "--lr", "0.05", "--no-report", "--no-onnx"]


@pytest.fixture(scope="module")
def gated(plain: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of such a training, and its result; nobody writes into it."""
    folder = tmp_path_factory.mktemp("gated")
    return folder, done(*settings(plain), "-o", str(folder))


def test_a_gated_network_comes_out_with_its_report(plain: str, tmp_path: Path) -> None:
    run = tmp_path
    result = done(*GATES, "--weights", plain, "--budget", "0.6", "--lr", "0.02", "-o", str(run))
    names = set(
        (
            "model.safetensors gates.safetensors model.onnx result.json report.html recipe.toml metrics.jsonl"
        ).split()
    )
    assert names <= {path.name for path in run.iterdir()} and not list(run.glob(".*"))
    panel = result["dynamic"]
    assert panel["expected"] == pytest.approx(0.6, abs=0.08) and panel["budget"] == pytest.approx(0.6)
    assert result["cost"]["after"]["macs"] == pytest.approx(
        panel["expected"] * result["cost"]["before"]["macs"]
    )
    assert [step["step"] for step in result["accuracy"]["steps"]] == ["before", "with gates"]
    assert sum(panel["histogram"]["counts"]) == panel["samples"] == result["accuracy"]["count"]
    assert [group["name"] for group in panel["groups"]] == ["conv1", "conv2", "fc1"] and len(
        panel["groups"][0]["by_class"]
    ) == 10
    assert {(row["runtime"], row["network"]) for row in panel["latency"]} == {
        (runtime, network)
        for runtime in ("PyTorch", "ONNX Runtime")
        for network in ("all channels", "with gates")
    }
    accuracies = {round(point["budget"], 6): point["accuracy"] for point in panel["curve"]}
    # all test samples are on the curve
    assert accuracies[round(panel["budget"], 6)] == pytest.approx(result["accuracy"]["steps"][-1]["value"])
    page = (run / "report.html").read_text()
    assert (
        all(
            title in page
            for title in ("What an input costs", "Accuracy for time", "Open channels", "Cheapest")
        )
        and "What was pinned" not in page
    )
    with torch.no_grad():
        network = open_model(str(run), gated=True).model
        images, labels = next(iter(batches(data.load("digits").test, data.load("digits").normalise, 400)))
        right = int((network(images).argmax(1) == labels).sum())
        assert 100 * right / len(labels) == pytest.approx(result["accuracy"]["steps"][-1]["value"])
        fast = runner(run / "model.onnx")
        for one in images[:20]:
            assert np.allclose(fast(one[None])[0], network(one[None])[0], atol=1e-4)


def test_gates_are_not_lost_where_they_cannot_be_exported(
    plain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **more: Any) -> None:
        raise PrunusError("Gates cannot be exported to ONNX: it is so.")

    monkeypatch.setattr(runs_gated, "export_gated", fails)
    made = invoke(*[one for one in settings(plain) if one != "--no-onnx"], "-o", str(tmp_path))
    assert made.exit_code == 1 and "it is so; all else that was made is in the folder" in made.stderr
    assert {"gates.safetensors", "model.safetensors", "result.json"} <= {
        one.name for one in tmp_path.iterdir()
    }
    assert open_model(str(tmp_path), gated=True).model is not None


def test_other_commands_and_the_folder_of_a_gated_network(
    gated: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(gated[0], tmp_path / "run"))
    shown = RUN.invoke(app, ["profile", str(run), "--json"])
    gates: dict[str, Any] = json.loads(shown.stdout)["gates"]
    assert gates["groups"] == {"conv1": 20, "conv2": 50, "fc1": 500} and gates["budget"] == pytest.approx(0.4)
    assert gates["least"] < gates["budget"] < gates["most"]
    assert "Gates (activation) on 3 groups" in RUN.invoke(app, ["profile", str(run)]).output
    refused = RUN.invoke(app, ["compare", str(run), "lenet5", "--no-onnx"])
    assert refused.exit_code != 0 and "holds a network with gates" in " ".join(
        (refused.output + str(refused.exception)).split()
    )
    again = invoke(*GATES, "--lr", "0.02", "--budget", "1.5", "-o", str(tmp_path / "other"))
    assert again.exit_code != 0 and not (tmp_path / "other").exists()
    (run / "gates.safetensors").write_bytes(b"nothing")
    broken = RUN.invoke(app, ["profile", str(run)])
    assert broken.exit_code != 0 and "gates.safetensors" in (broken.output + str(broken.exception))


def test_what_gates_never_do_is_settled(
    plain: str, gated: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (run, before), settled = gated, tmp_path
    after = done(*settings(plain), "--settle", "-o", str(settled))
    assert (
        after["cost"]["before"] == before["cost"]["before"]
        and after["cost"]["after"]["params"] < before["cost"]["after"]["params"]
    )
    assert (
        "channels that no held-out sample opened are gone for good" in after["notes"][0]
        and not before["notes"]
    )
    # test samples may differ
    assert after["accuracy"]["steps"][-1]["value"] == pytest.approx(
        before["accuracy"]["steps"][-1]["value"], abs=1.0
    )
    # of the same whole: as many channels, and smaller gates
    assert after["dynamic"]["expected"] < before["dynamic"]["expected"]
    first, second = (open_model(str(folder), gated=True).model for folder in (run, settled))
    assert sum(gate.channels for gate in second.gates.values()) < sum(
        gate.channels for gate in first.gates.values()
    )
    held_out = data.load("digits").hold_out(0.1, 0)[1]
    images, _ = next(iter(batches(held_out, data.load("digits").normalise, len(held_out))))
    with torch.no_grad():
        assert torch.allclose(first(images), second(images), atol=1e-4)
    shown = json.loads(RUN.invoke(app, ["profile", str(settled), "--json"]).stdout)
    assert shown["gates"]["budget"] == pytest.approx(after["dynamic"]["budget"])


def test_widths_are_chosen_from_the_command_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = done(
        *GATES,
        *"--lr 0.02 --gates widths --widths 0.5 --widths 1 --budget 0.7 --no-report -o".split(),
        str(run),
    )
    assert result["dynamic"]["form"]["widths"] == [0.5, 1.0] and result["onnx"]["relative"] < 1e-4
    assert "widths = [0.5, 1.0]" in (run / "recipe.toml").read_text()
    refused = invoke(*GATES, "--gates", "widths", "--settle", "-o", str(tmp_path / "other"))
    assert refused.exit_code != 0 and "--settle is for 'activation'" in " ".join(
        (refused.output + str(refused.exception)).split()
    )
    refused = invoke(*GATES, "--gates", "widths", "--widths", "0.5", "-o", str(tmp_path / "other"))
    assert refused.exit_code != 0 and "rising up to 1" in " ".join(
        (refused.output + str(refused.exception)).split()
    )
