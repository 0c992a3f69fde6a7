"""Whole jobs called from Python: what they take and refuse, and that they leave what the command leaves."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
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
    typed = [
        "prune",
        "lenet5",
        "--input-shape",
        "1,1,8,8",
        "--macs",
        "0.6",
        "--score",
        "norm-l1",
        "--floor",
        "2",
    ]
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
    assert runs.LatencySettings(("torch",)).runtime == (runs.Served.TORCH,)  # type: ignore[arg-type]


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


JOBS: dict[Any, dict[str, Any]] = {
    runs.prune: {"model": "lenet5", "folder": "out", "settings": runs.PruneSettings(rate=0.5), "data": None},
    runs.train: {"recipe": runs.Recipe("digits", "lenet5"), "folder": "out"},
    runs.cascade: {"models": ["lenet5"], "data": "digits", "settings": runs.CascadeSettings(0.5)},
    runs.latency: {"models": ["lenet5"], "settings": None, "data": None},
    runs.segment: {"picture": "picture.png", "model": "unet", "output": None},
    runs.segment_set: {"data": "pictures", "model": "unet", "folder": None},
    runs.export: {"model": "lenet5", "output": "lenet5.onnx", "settings": runs.ExportSettings()},
    runs.profile: {"model": "lenet5"},
    runs.compare: {"first": "lenet5", "second": "lenet5", "data": None},
    runs.chart: {"folders": ["a", "b"], "page": None},
    runs.demo: {"folder": "out"},
}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_an_argument_of_another_kind_is_named(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in inspect.signature(job).parameters:
        with pytest.raises(ConfigError, match=rf"^{name} must be .*, not .*\.$"):
            job(**JOBS[job] | {name: object()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("targets", [{}, {"rate": 0.5, "macs": 0.5}])
def test_exactly_one_target_is_given(targets: dict[str, float], tmp_path: Path) -> None:
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


def test_a_training_goes_by_its_recipe(tmp_path: Path) -> None:
    recipe = runs.Recipe("digits", "lenet5", epochs=1, lr=0.05, limit=100)
    found = runs.train(recipe, tmp_path)
    assert found == read_training(tmp_path) and found["model"]["data"]["train"] <= 100
    with pytest.raises(ConfigError, match="--resume goes on with it"):
        runs.train(recipe, tmp_path)
    assert runs.train(recipe, tmp_path, resume=True)["accuracy"] == found["accuracy"]
    with pytest.raises(ConfigError, match=r"was begun with lr = 0\.05, not 0\.1"):
        runs.train(runs.Recipe("digits", "lenet5", epochs=1, limit=100), tmp_path, resume=True)
    with pytest.raises(ConfigError, match="The recipe: lr must be above 0"):
        runs.train(runs.Recipe("digits", "lenet5", lr=-1.0), tmp_path / "other")


def read_training(folder: Path) -> Any:
    from prunus.runs.loading import TRAINING_FILE
    from prunus.runs.loading import read_training as read_file

    return read_file(folder / TRAINING_FILE)


@pytest.mark.parametrize("given", [{}, {"budget": 0.5, "tolerance": 1.0}])
def test_a_cascade_has_one_target(given: dict[str, float]) -> None:
    with pytest.raises(TargetError, match="Exactly one of --budget and --tolerance"):
        runs.CascadeSettings(**given)
