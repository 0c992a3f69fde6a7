"""`prunus train --method history`: rounds from flags and recipes, the folder, going on after a kill, and
weights of an earlier training.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.test_training import done, invoke

from prunus import models
from prunus.runs import run

SHORT = (
    "digits lenet5 --method history --epochs 2 --tune-epochs 1 --pull-epochs 1 --rounds 2 --rate 0.4".split()
)
SHORT += ["--limit", "600", "--batch-size", "64", "--lr", "0.05", "--tolerance", "50", "--no-onnx"]


def test_rounds_end_in_a_compact_model_and_a_report_with_histories(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = done(*SHORT, "--protect", "conv1", "-o", str(tmp_path))
    widths = {row["name"]: (row["width_before"], row["width_after"]) for row in result["layers"]}
    assert widths == {
        "conv1": (20, 20),
        "conv2": (50, 18),
        "fc1": (500, 180),
        "fc2": (10, 10),
    }  # 50 - 20 - 12, 500 - 200 - 120
    assert [trial["accepted"] for trial in result["search"]["trials"]] == [True, True]
    assert "confidence" not in result["search"]["note"]
    assert [stage["name"] for stage in result["training"]] == ["training", "fine-tuning"]
    groups = {group["name"]: group for group in result["history"]["groups"]}
    assert {name: (group["size"], group["removed"]) for name, group in groups.items()} == {
        "conv2": (50, 20),
        "fc1": (500, 200),
    }
    for group in groups.values():
        assert group["epochs"] == [1, 2] and len(group["pairs"]) == 4
        assert all(len(curve) == 2 for pair in group["pairs"] for curve in pair.values())
    page = (tmp_path / "report.html").read_text()
    assert "Filters that went the same way" in page and "conv2: 30 of 50" in page
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    stages = [
        "training",
        "training",
        "round 1, pulling",
        "round 1, retraining",
        "round 2, pulling",
        "round 2, retraining",
    ]
    assert [line["training"] for line in lines] == stages
    # finished: nothing is trained again
    again = done("-o", str(tmp_path), "--resume", "--no-report", "--no-onnx")
    assert again["accuracy"] == result["accuracy"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 6


def test_rounds_go_on_where_they_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = done(*SHORT, "--no-report", "-o", str(tmp_path / "whole"))
    folder, line, written = tmp_path / "broken", run.line, list[str]()

    def break_off(record: Any, step: str = "") -> str:
        written.append(step)
        if len(written) == 5:  # in the second round
            raise KeyboardInterrupt
        return line(record, step)

    with monkeypatch.context() as patch:
        patch.setattr(run, "line", break_off)
        assert invoke(*SHORT, "--no-report", "-o", str(folder)).exit_code == 130
    assert "--resume goes on with it" in invoke(*SHORT, "-o", str(folder)).output.replace("\n", " ")
    resumed = done("-o", str(folder), "--resume", "--no-report", "--no-onnx")
    assert resumed["accuracy"] == whole["accuracy"] and resumed["history"] == whole["history"]


def test_the_history_of_an_earlier_training(tmp_path: Path) -> None:
    (tmp_path / "epochs").mkdir()
    norms = []
    for epoch in (9, 10, 11):
        torch.manual_seed(epoch)
        model = models.lenet5(image_size=8)
        torch.save(model.state_dict(), tmp_path / "epochs" / f"epoch-{epoch}.pt")
        norms.append(float(model.conv1.weight.detach()[7].abs().sum()))
    result = done(
        *SHORT,
        "--rounds",
        "1",
        "--history",
        str(tmp_path / "epochs"),
        "--no-report",
        "-o",
        str(tmp_path / "run"),
    )
    group = result["history"]["groups"][0]
    shown = [*group["others"], *(curve for pair in group["pairs"] for curve in pair.values())]
    assert any(curve == pytest.approx(norms, rel=1e-3) for curve in shown)
    assert [stage["name"] for stage in result["training"]] == ["fine-tuning"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--validation", "0"], "keeps its tolerance, or learns, on held-out samples"),
        (["--select", "random"], "leave select = 'random' out"),
        (["--history", "nowhere"], "history = 'nowhere' must be a folder with weight files"),
    ],
)
def test_what_rounds_cannot_do_is_said(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = invoke(*SHORT, *arguments, "--no-report", "-o", str(tmp_path))
    assert result.exit_code == 1 and says in " ".join(result.output.split())
