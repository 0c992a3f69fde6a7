"""Compensation and dendrograms of `prunus prune`, and `prunus segment`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import prunus
from prunus import models
from prunus.cli.app import app

PRUNE = ("--data", "digits", "--rate", "0.4", "--no-onnx")


def invoke(*args: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*args, "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5 for the digits, trained for a moment."""
    folder = tmp_path_factory.mktemp("lenet")
    invoke("train", "digits", "lenet5", "--epochs", "3", "-o", str(folder))
    return folder / "model.safetensors"


@pytest.mark.parametrize("kind", ["refit", "means", "merge", "none"])
def test_every_compensation_can_be_chosen(network: Path, tmp_path: Path, kind: str) -> None:
    result = invoke(
        "prune",
        f"lenet5@{network}",
        *PRUNE,
        "--score",
        "norm-l2",
        "--compensate",
        kind,
        "--no-report",
        "-o",
        str(tmp_path),
    )
    steps = {step["step"]: step["value"] for step in result["accuracy"]["steps"]}
    assert result["compensation"] == kind and ("after compensation" in steps) == (kind != "none")
    assert result["verification"]["exact"]
    if kind == "refit":
        assert steps["after compensation"] > steps["after removal"]


def test_with_data_layers_are_refitted_by_themselves(network: Path, tmp_path: Path) -> None:
    result = invoke("prune", f"lenet5@{network}", *PRUNE, "--no-report", "-o", str(tmp_path))
    assert result["compensation"] == "refit" and result["target"]["score"] == "reconstruction"
    bare = invoke(
        "prune", "lenet5", "--rate", "0.4", "--no-onnx", "--no-report", "-o", str(tmp_path / "bare")
    )
    assert bare["compensation"] == "none" and bare["target"]["score"] == "norm-l2"


def test_refitting_needs_data(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["prune", "lenet5", "--rate", "0.4", "--compensate", "refit", "-o", str(tmp_path / "out")]
    )
    assert (
        result.exit_code == 1
        and "The compensation refit looks at training samples: give --data." in result.output
    )


@pytest.mark.parametrize("score", ["similarity", "similarity-inputs"])
def test_the_report_shows_dendrograms(network: Path, tmp_path: Path, score: str) -> None:
    result = invoke(
        "prune", f"lenet5@{network}", *PRUNE, "--score", score, "--scope", "global", "-o", str(tmp_path)
    )
    groups = result["similarity"]["groups"]
    for group in groups:
        assert len(group["links"]) == len(group["kept"]) - 1 and not all(group["kept"])
    page = (tmp_path / "report.html").read_text()
    assert (
        "Channels that are alike" in page and f"Dendrograms of the channels of {len(groups)} layers" in page
    )


@pytest.mark.parametrize("score", ["lasso", "pls"])
def test_a_missing_extra_is_named(
    network: Path, tmp_path: Path, score: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sklearn", "sklearn.linear_model", "sklearn.cross_decomposition"):
        monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(
        app, ["prune", f"lenet5@{network}", *PRUNE, "--score", score, "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 1 and "pip install 'prunus[methods]'" in result.output


def test_a_picture_is_segmented(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    torch.manual_seed(0)
    model = models.unet(width=4, depth=2)
    graph = prunus.trace(model.eval(), torch.zeros(1, 3, 64, 64))
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    prunus.save(small, tmp_path / "model.safetensors")
    (tmp_path / "small_unet.py").write_text(
        "from prunus import models\n\n\ndef build():\n    return models.unet(width=4, depth=2)\n"
    )
    pillow.fromarray(np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)).save(
        tmp_path / "scene.png"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        found = invoke(
            *(
                "segment scene.png --model model.safetensors --build small_unet:build --tile 32 --overlap 8"
            ).split(),
        )
    assert sum(found["pixels"].values()) == 70 * 90
    mask = np.asarray(pillow.open(tmp_path / "scene-mask.png"))
    assert mask.shape == (70, 90) and set(np.unique(mask)) <= {0, 255}
    assert int((mask == 255).sum()) == found["pixels"].get("1", 0)
    assert np.asarray(pillow.open(tmp_path / "scene-overlay.png")).shape == (70, 90, 3)
    missing = CliRunner().invoke(app, ["segment", str(tmp_path / "none.png"), "--model", "unet"])
    assert missing.exit_code == 1 and "There is no picture" in missing.output
