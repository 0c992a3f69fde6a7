"""`prunus train`: recipes, flags, the folder that a run leaves behind, and going on after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from prunus.cli.app import app
from prunus.runs import run
from prunus.runs.recipe import KEYS, Select, resolve

RUN = CliRunner()
SHORT = "digits lenet5 --epochs 3 --batch-size 64 --lr 0.05 --no-onnx --no-report".split()
FEW = [*SHORT, "--limit", "400"]


def invoke(*arguments: str) -> Any:
    return RUN.invoke(app, ["train", *arguments])


def done(*arguments: str) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_plain_training_leaves_model_metrics_and_recipe(tmp_path: Path) -> None:
    result = done(*SHORT, "-o", str(tmp_path))
    assert result["accuracy"] > 80
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3] and lines == result["training"]["epochs"]
    assert lines[0]["validation_accuracy"] is not None
    assert {"model.safetensors", "checkpoint.safetensors", "recipe.toml", "training.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    recipe = tomllib.loads((tmp_path / "recipe.toml").read_text())
    assert recipe["epochs"] == 3 and list(recipe) == list(KEYS)


def test_twofold_training_ends_in_a_compact_model_and_keeps_the_choices(tmp_path: Path) -> None:
    extra = "--method soft --rate 0.4 --select critical --warmup-epochs 1 --subset-size 20 --tune-epochs 1".split()
    result = done(*SHORT, *extra, "-o", str(tmp_path))
    assert result["cost"]["after"]["params"] < 0.7 * result["cost"]["before"]["params"]
    assert [step["step"] for step in result["accuracy"]["steps"]] == [
        "pruned softly",
        "after removal",
        "after fine-tuning",
    ]
    assert [stage["name"] for stage in result["training"]] == ["training", "fine-tuning"]
    assert result["control"]["of"] == 3 and result["control"]["text"] in result["notes"]
    assert [row["title"].split(":")[0] for row in result["selection"]["gallery"]] == [
        "Most critical",
        "Most redundant",
    ]
    assert (
        len(result["soft"]["record"]) == 2
        and result["soft"]["sizes"].keys() == result["soft"]["record"][0]["alive"].keys()
    )
    kept = sorted((tmp_path / "kept").iterdir())
    assert [path.name for path in kept] == ["epoch-0002.npy", "epoch-0003.npy"]
    samples = [epoch["samples"] for epoch in result["training"][0]["epochs"]]
    assert samples[1:] == [len(np.load(path)) for path in kept] and samples[1] < samples[0]


LATER = ("lower-bound", "critical-softer", "proxy")  # they leave nothing out before something is learned


@pytest.mark.parametrize("select", sorted({*get_args(Select)} - {"all", "critical", *LATER}))
def test_every_rule_trains_on_fewer_samples(select: str, tmp_path: Path) -> None:
    result = done(*FEW, "--select", select, "--warmup-epochs", "1", "--validation", "0", "-o", str(tmp_path))
    samples = [epoch["samples"] for epoch in result["training"]["epochs"]]
    assert samples[0] == 400 and max(samples[1:]) < 400
    assert result["control"]["epochs"] == max(1, round(sum(samples) / 400)) < result["control"]["of"]


def test_a_proxy_learns_for_an_epoch_before_it_chooses(tmp_path: Path) -> None:
    result = done(*FEW, "--select", "proxy", "--drop", "0.4", "--validation", "0", "-o", str(tmp_path))
    assert [epoch["samples"] for epoch in result["training"]["epochs"]] == [400, 400, 240]


@pytest.mark.parametrize("select", ["lower-bound", "critical-softer"])
def test_what_is_learned_is_left_out_but_first_and_last(select: str, tmp_path: Path) -> None:
    more = f"--select {select} --validation 0 --epochs 8 --batch-size 32".split()
    own = [] if select == "lower-bound" else "--warmup-epochs 2 --annealing 0.2 --subset-size 10".split()
    result = done(*FEW, *more, *own, "-o", str(tmp_path))
    samples = [epoch["samples"] for epoch in result["training"]["epochs"]]
    assert samples[:2] == samples[6:] == [400, 400] and max(samples[3:6]) < 400
    written = tomllib.loads((tmp_path / "recipe.toml").read_text())
    assert written["warmup_epochs"] == 2 and written["annealing"] == 0.2


def test_the_learning_rate_is_one_figure_and_nothing_is_written(tmp_path: Path) -> None:
    found = done(*FEW, "--find-lr", "-o", str(tmp_path / "run"))
    assert 0.01 < found["lr"] < 1 and len(found["rates"]) == len(found["losses"]) > 20
    assert not list(tmp_path.iterdir())
    shown = invoke(*FEW, "--find-lr", "-o", str(tmp_path / "run"))
    assert f"--lr {found['lr']:g}, from {len(found['rates'])} steps" in shown.stdout
    without = invoke(*FEW, "--find-lr", "--validation", "0")
    assert without.exit_code == 1 and "validation must be above 0" in without.output.replace("\n", " ")
    resumed = invoke(*FEW, "--find-lr", "--resume", "-o", str(tmp_path / "run"))
    assert resumed.exit_code == 1 and "leave out --resume" in resumed.output.replace("\n", " ")


def test_flags_go_before_what_a_rule_wants() -> None:
    said = {"data": "digits", "model": "lenet5", "select": "lower-bound"}
    found = [resolve(said | more, "A recipe") for more in ({}, {"warmup_epochs": 0}, {"epochs": 2})]
    assert [(one.warmup_epochs, one.annealing) for one in found] == [(2, 0.2), (0, 0.2), (1, 0.2)]
    assert resolve({**said, "select": "random"}, "A recipe").annealing == 0


def test_a_training_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = ["--select", "easy-dropped", "--warmup-epochs", "1"]
    whole = done(*FEW, *extra, "-o", str(tmp_path / "whole"))
    folder = tmp_path / "broken"
    line, written = run.line, list[Any]()

    def break_off(record: Any, step: str = "") -> str:
        written.append(record)
        if len(written) == 2:
            raise KeyboardInterrupt
        return line(record, step)

    with monkeypatch.context() as patch:
        patch.setattr(run, "line", break_off)
        assert invoke(*FEW, *extra, "-o", str(folder)).exit_code == 130
    again = invoke(*FEW, *extra, "-o", str(folder))
    assert again.exit_code == 1 and "--resume goes on with it" in again.output.replace("\n", " ")
    other = invoke(*FEW, *extra, "--drop", "0.7", "-o", str(folder), "--resume")
    assert other.exit_code == 1 and "was begun with drop = 0.5, not 0.7" in other.output.replace("\n", " ")
    resumed = done("-o", str(folder), "--resume")  # the folder's own recipe
    assert resumed["accuracy"] == whole["accuracy"]
    for mine, theirs in zip(resumed["training"]["epochs"], whole["training"]["epochs"], strict=True):
        assert [mine[k] for k in ("loss", "accuracy", "samples", "lr")] == [
            theirs[k] for k in ("loss", "accuracy", "samples", "lr")
        ]
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3
    assert sorted(p.name for p in (folder / "kept").iterdir()) == sorted(
        p.name for p in (tmp_path / "whole" / "kept").iterdir()
    )


def test_curves_for_tensorboard_and_the_best_epoch(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result = done(*FEW, "--keep", "best", "--tensorboard", "-o", str(tmp_path))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    epochs = result["training"]["epochs"]
    for tag, key in (
        ("loss/training", "loss"),
        ("loss/validation", "validation_loss"),
        ("accuracy/validation", "validation_accuracy"),
    ):
        found = events.Scalars(tag)
        assert [event.step for event in found] == [1, 2, 3]
        assert [event.value for event in found] == pytest.approx([epoch[key] for epoch in epochs])
    scores = [epoch["validation_accuracy"] for epoch in epochs]
    assert result["training"]["kept"] == scores.index(max(scores)) + 1


def test_without_tensorboard_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = invoke(*SHORT, "--tensorboard", "-o", str(tmp_path))
    assert result.exit_code == 1 and "need the extra prunus[tensorboard]" in result.output.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_lists_of_a_recipe_come_through_the_command(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(
        'data = "digits"\nmodel = "lenet5"\nmilestones = [0.5]\nschedule = "step"\nmethod = "soft"\nprotect ='
        ' ["conv1"]\n'
    )
    result = done(
        "--recipe",
        str(file),
        *"--epochs 2 --lr 0.05 --no-onnx --no-report -o".split(),
        str(tmp_path / "out"),
    )
    resolved = tomllib.loads((tmp_path / "out" / "recipe.toml").read_text())
    assert resolved["milestones"] == [0.5] and resolved["protect"] == ["conv1"]
    assert [epoch["lr"] for epoch in result["training"][0]["epochs"]] == pytest.approx([0.05, 0.005])
    assert result["soft"]["record"][-1]["alive"]["conv1"] == 20


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--select", "random", "--drop", "1.5"], "--drop must be from 0 to 1, not 1.5"),
        (["--select", "critical", "--warmup-epochs", "3"], "warmup_epochs = 3 leaves none of 3 epochs"),
    ],
)
def test_settings_that_cannot_be_are_told_before_the_work(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    result = invoke(*SHORT, *arguments, "-o", str(tmp_path))
    assert result.exit_code == 1 and says in result.output.replace("\n", " ")


def test_two_processes_leave_one_folder(tmp_path: Path) -> None:
    launch = [
        sys.executable,
        *"-m torch.distributed.run --standalone --nproc-per-node 2 --no-python".split(),
    ]
    command = [
        sys.executable,
        "-m",
        "prunus",
        "train",
        *SHORT,
        "-o",
        str(tmp_path),
        *"--select easy-dropped --warmup-epochs 1 --json".split(),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    found = subprocess.run([*launch, *command], capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    assert result["accuracy"] > 70 and len(result["training"]["epochs"]) == 3
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
