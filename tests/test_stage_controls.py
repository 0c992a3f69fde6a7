"""Controls of int8, cascades and gates: made once for every row whose networks are there, and told in their
tables.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import dynamic_table, gated, int8_table, stage_controls, stages
from benchmarks.environment import RESULTS
from benchmarks.rows import Row, kept, record, signed, write
from benchmarks.stage_controls import ALONE, LONGER, TAUGHT, accuracy, add_controls
from benchmarks.stages import Material
from benchmarks.tuned_networks import renewed
from torch import nn

import prunus
from prunus import data, scores, storage
from prunus.models.resnet import CifarResNet

KEY = ("network", "epochs", "lr", "stage_epochs", "stage_lr", "seed")
HOW = {"network": "resnet8", "epochs": 1, "lr": 0.01, "stage_epochs": 1, "stage_lr": 0.02, "seed": 0}


def options(folder: Path) -> argparse.Namespace:
    return argparse.Namespace(**HOW, models=folder, weights=None, stage_decay=5e-4, device="cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dense network and what is left of it, in files, and one row of them."""
    digits = data.load("digits")
    parts = [digits.train.subset(torch.arange(start, start + 40)) for start in (0, 40, 80)]
    about = Material(parts[0], parts[1], parts[2], digits.normalise, "none", torch.zeros(1, 1, 8, 8))
    monkeypatch.setattr(stages, "built", lambda name: CifarResNet(1, in_channels=1))
    monkeypatch.setattr(stage_controls, "material", lambda here: about)
    monkeypatch.setattr("sys.argv", ["benchmark", "controls"])
    torch.manual_seed(0)
    dense = CifarResNet(1, in_channels=1).eval()
    graph = prunus.trace(dense, about.example)
    small = prunus.compact(dense, prunus.plan(graph, scores.norm(graph), macs=0.5))
    storage.save(dense, stages.place(options(tmp_path), "1"))
    storage.save(small.eval(), stages.place(options(tmp_path), "0.5"))
    there: Row = HOW | {"weights": None, "stages": ["0.5", "1"]}
    rows = [there, there | {"network": "another"}, there | {"weights": "some.th"}]
    write(tmp_path / "rows.json", [signed(row, record("benchmarks.some", seed=0)) for row in rows])
    return tmp_path


def test_controls_are_trained_once_and_measured_alike(folder: Path) -> None:
    seen: list[tuple[str, int]] = []

    def figures(here: argparse.Namespace, about: Material, name: str, network: nn.Module) -> float:
        seen.append((name, sum(one.numel() for one in network.parameters())))
        return accuracy(here, about, name, network)

    def run() -> Row:
        return add_controls(
            folder / "rows.json",
            "benchmarks.some",
            options(folder),
            KEY,
            lambda here, row: row["stages"][:-1],
            figures,
        )

    row, *others = run()["rows"]
    assert set(row["controls"]) == {LONGER, TAUGHT, ALONE}
    assert all(0 <= value <= 100 for value in row["controls"].values())
    assert not any("controls" in one for one in others)  # networks that are not there, and other weights
    (_, whole), (_, taught), (_, alone) = seen
    assert whole > taught == alone
    assert {f"training of {name}" for name, _ in seen} | {"controls", "all"} == set(row["measured"])
    assert kept(folder / "rows.json")["rows"][0]["controls"] == row["controls"]
    run()
    assert len(seen) == 3


def test_a_shape_from_scratch_has_other_weights(folder: Path) -> None:
    here = options(folder)
    small = stages.stored(here, "0.5")
    new = renewed(stages.stored(here, "0.5"), 1)
    assert not torch.equal(next(small.parameters()), next(new.parameters()))
    again = renewed(stages.stored(here, "0.5"), 1)
    assert all(torch.equal(a, b) for a, b in zip(new.parameters(), again.parameters()))


def test_tables_tell_of_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    controls: Row = {LONGER: 90.5, TAUGHT: 80.25, ALONE: 70.0}
    (row, *_) = (one for one in kept(gated.RESULT)["rows"])
    assert f"| control: {TAUGHT} | 80.25 |" in gated.table({"rows": [row | {"controls": controls}]})
    (row, *_) = kept(RESULTS / "dynamic.json")["rows"]
    text = dynamic_table.table({"rows": [row | {"controls": controls}]})
    assert f"| control: {LONGER} | | 90.50 | {90.5 - row['alone']['1']:+.2f} |" in text


def test_the_gain_of_int8_is_told_against_its_controls() -> None:
    (row, *_) = kept(RESULTS / "int8.json")["rows"]

    def at(value: float) -> Any:
        return {kind: row["networks"]["pruned int8"] | {"accuracy": value} for kind in ("float32", "int8")}

    reached: float = row["networks"]["pruned int8"]["accuracy"]
    controls = {LONGER: at(reached + 2), TAUGHT: at(reached - 1), ALONE: at(reached - 3)}
    text = int8_table.table({"rows": [row | {"controls": controls}]})
    assert "| -2.00 | +1.00 | +3.00 |" in text and f"| control: {ALONE}, int8 |" in text
