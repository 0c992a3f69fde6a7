"""A whole pruning, called from Python: as the command does it, with settings that are checked."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.runs import halves
from typer.testing import CliRunner

from prunus import runs
from prunus.cli.app import app
from prunus.cli.prune import prune as verb
from prunus.errors import ConfigError, TargetError
from prunus.report.result import read

NOTHING = runs.Delivery(onnx=False, report=False)
SMALL = runs.Network("lenet5", input_shape=(1, 1, 8, 8))


def test_the_command_and_python_come_to_the_same(tmp_path: Path) -> None:
    steps: list[str] = []
    settings = runs.PruneSettings(macs=0.6, score=runs.Score.NORM_L1, floor=2)
    found = runs.prune(
        SMALL,
        tmp_path / "python",
        settings,
        delivery=NOTHING,
        watch=lambda step, done, total: steps.append(step),
    )
    typed = "prune lenet5 --input-shape 1,1,8,8 --macs 0.6 --score norm-l1 --floor 2".split()
    done = CliRunner().invoke(app, [*typed, "--no-onnx", "--no-report", "-o", str(tmp_path / "command")])
    assert done.exit_code == 0, done.output
    assert found == read(tmp_path / "python" / "result.json") and "planning" in steps
    told = read(tmp_path / "command" / "result.json")
    for key in ("model", "target", "cost", "layers", "seed", "verification"):
        assert found[key] == told[key], key


def test_every_setting_has_the_name_of_its_flag() -> None:
    flags = set(inspect.signature(verb).parameters)
    assert {field.name for field in fields(runs.PruneSettings)} - flags == {"bytes", "tuning"}


def test_choices_may_be_texts() -> None:
    settings: Any = runs.PruneSettings(rate=0.5, score="taylor", scope="global")  # type: ignore[arg-type]
    assert settings.score is runs.Score.TAYLOR and settings.scope is runs.Scope.GLOBAL


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rate": 30.0}, r"rate must be from 0 to 1, not 30 \(did you mean 0.3\?\)."),
        ({"score": "norm-l3"}, "score must be one of norm-l1, norm-l2, .*, not 'norm-l3'."),
        ({"epochs": "many"}, "epochs must be "),
    ],
)
def test_settings_are_checked_when_they_are_made(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        runs.PruneSettings(**settings)


@pytest.mark.parametrize("targets", [{}, {"rate": 0.5, "macs": 0.5}])
def test_exactly_one_target_is_given(targets: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"Give one target of rate, macs, .*, not (none|rate and macs)\."):
        runs.prune(SMALL, tmp_path / "out", runs.PruneSettings(**targets), delivery=NOTHING)
    assert not (tmp_path / "out").exists()


def test_a_file_in_8_bits_needs_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --data"):
        runs.prune(
            SMALL,
            tmp_path,
            runs.PruneSettings(rate=0.5),
            delivery=runs.Delivery(report=False, int8=runs.Quantisation()),
        )


def test_a_file_in_8_bits_is_made_from_single_precision(tmp_path: Path) -> None:
    """Told of before any work: the file itself would be refused at the end of the run."""
    with pytest.raises(ConfigError, match="this one has float16 weights: give it as float32"):
        runs.prune(
            runs.Network(halves.NAME),
            tmp_path / "out",
            runs.PruneSettings(rate=0.5),
            data="digits",
            delivery=runs.Delivery(report=False, int8=runs.Quantisation()),
        )
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
