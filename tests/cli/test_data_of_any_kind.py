"""`--data` of every kind, by every command: what is read, what is said of it, and what is told where it
cannot be.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from prunus import models
from prunus.cli.app import app
from prunus.models import catalogue

MODULE = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prunus
from prunus import data
from prunus.tasks import squared_error

number, text = 3, "text"
asked = {}


def net():
    return nn.Sequential(nn.Conv1d(1, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 1))


def wide():
    return nn.Sequential(nn.Conv1d(1, 16, 3), nn.ReLU(), nn.Conv1d(16, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 1))


def heights(batch_size=10, workers=0, limit=None, seed=0):
    asked.update(batch_size=batch_size, workers=workers, limit=limit, seed=seed)
    signals = torch.randn(90, 1, 16, generator=torch.Generator().manual_seed(seed))
    sets = [TensorDataset(part, part.mean(2)) for part in signals.split(30)]
    return prunus.Task(*(DataLoader(one, batch_size) for one in sets), loss=nn.functional.mse_loss, metric=squared_error)


def stubborn():
    return heights()


def digits():
    found = data.load("digits")
    kept, held = found.hold_out(0.3)
    return prunus.Task(kept, held, found.test, normalise=found.normalise)


def breaks():
    raise ValueError("no such thing")


def leaves():
    sys.exit(3)


def nothing():
    return None


def loader():
    return [1, 2]


def needs(path):
    return heights()


def torn():
    return prunus.Task([torch.zeros(3)], loss=nn.functional.mse_loss, metric=squared_error)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in, with a module of the user's and two files of arrays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODULE)
    draw = np.random.default_rng(0)
    np.savez(
        "heights.npz",
        inputs=(signals := draw.normal(size=(90, 1, 16)).astype(np.float32)),
        targets=signals.mean(2),
    )
    labels = np.arange(240) % 2
    np.savez(
        "pictures.npz",
        images=(draw.integers(0, 99, (240, 8, 8)) + 100 * labels[:, None, None]).astype(np.uint8),
        labels=labels,
    )
    np.savez(
        "maps.npz",
        inputs=(maps := draw.normal(size=(60, 3, 16, 16)).astype(np.float32)),
        masks=(maps[:, 0] > 0) + 0,
    )
    yield tmp_path
    sys.modules.pop("mine", None)


def invoke(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def run(*words: str) -> dict[str, Any]:
    done = invoke(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


FEW = ["--epochs", "1", "--lr", "0.01"]
BARE = ["--no-onnx", "--no-report"]


@pytest.mark.parametrize(
    ("data", "metric"), [("mine:heights", "squared error"), ("heights.npz", "R², percent")]
)
def test_numbers_are_predicted_by_every_command(place: Path, data: str, metric: str) -> None:
    trained = run("train", data, "mine:net", *FEW, "-o", "dense")
    assert (
        trained["metric"] == metric
        and trained["model"]["data"]["name"] == data
        and "mean" not in trained["model"]["data"]
    )
    assert run("train", data, "mine:net", *FEW, "-o", "dense", "--resume")["value"] == trained["value"]
    words = [
        *"prune dense --build mine:net --data".split(),
        data,
        "--macs",
        "0.6",
        *FEW,
        "--trial-epochs",
        "1",
        *BARE,
    ]
    pruned = run(*words, "-o", "small")
    assert pruned["accuracy"]["metric"].startswith(metric) and pruned["model"]["data"]["name"] == data
    assert (
        pruned["accuracy"]["steps"][-1]["step"] == "after fine-tuning"
        and pruned["training"][0]["name"] == "fine-tuning"
    )
    both = run("compare", "dense", "small", "--build", "mine:net", "--data", data, "--no-onnx")
    assert both["accuracy"]["a"] == pytest.approx(trained["value"]) and both["accuracy"]["metric"].startswith(
        metric
    )
    timed = run(
        *"latency dense small --build mine:net --data".split(),
        data,
        *"--batch-size 4 --repeats 3 --runtime torch".split(),
    )
    assert {tuple(row["input_shape"]) for row in timed["latency"]} == {(4, 1, 16)}
    told = invoke("cascade", "mine:net", "mine:wide", "--data", data, "--budget", "0.5")
    assert (
        told.exit_code == 1
        and f"is measured by {metric.removesuffix(', percent')}: give data with classes"
        in " ".join(told.stderr.split())
    )
    told = invoke("segment", "--model", "mine:net", "--data", data)
    assert told.exit_code == 1 and "what is segmented has masks" in told.stderr
    told = invoke("train", data, "mine:net", *FEW, "--method", "dynamic", "-o", "other")
    assert told.exit_code == 1 and "--method dynamic is for images with classes" in " ".join(
        told.stderr.split()
    )


def test_a_function_gets_what_it_asks_for_and_flags_that_nobody_heeds_are_refused(place: Path) -> None:
    words = ["prune", "mine:net", "--macs", "0.9", *BARE]
    run(
        *words,
        *"--data mine:heights --batch-size 6 --workers 2 --limit 12 --seed 5 -o a".split(),
    )
    assert sys.modules["mine"].asked == {"batch_size": 6, "workers": 2, "limit": 12, "seed": 5}
    assert run(*words, "--data", "mine:stubborn", "--limit", "12", "-o", "b")["model"]["data"] | {
        "name": ""
    } == {"name": "", "train": 2, "validation": 2, "test": 2}
    for flag in (["--batch-size", "4"], ["--workers", "1"], ["--data-dir", "."]):
        told = invoke(*words, "--data", "mine:stubborn", *flag, "-o", "c")
        assert (
            told.exit_code == 1
            and f"give the function a parameter {flag[0][2:].replace('-', '_')}"
            in " ".join(told.stderr.split())
        )
    told = invoke(*words, "--data", "mine:stubborn", "--mean", "0.5", "-o", "c")
    assert told.exit_code == 1 and "are taken as they are: leave --mean and --std out" in " ".join(
        told.stderr.split()
    )
    told = invoke(*words, "--data", "mine:stubborn", "--epochs", "1", "--augment", "crop", "-o", "c")
    assert told.exit_code == 1 and "--augment crop is of images with classes" in " ".join(told.stderr.split())


@pytest.mark.parametrize("data", ["pictures.npz", "mine:digits"])
def test_images_in_memory_are_as_good_as_any_set(place: Path, data: str) -> None:
    words = ["train", data, "lenet5", *FEW, "--limit", "90", "--batch-size", "32"]
    soft = run(
        *words,
        *"--method soft --rate 0.3 --select easy-dropped --warmup-epochs 0".split(),
        *BARE,
        "-o",
        "soft",
    )
    assert soft["model"]["data"]["name"] == data and soft["model"]["data"]["train"] == 90
    assert soft["model"]["options"]["num_classes"] == (2 if data == "pictures.npz" else 10)
    dense = run(*words, "-o", "dense")
    assert dense["accuracy"] >= 0 and dense["model"]["input_shape"] == [1, 1, 8, 8]
    found = run("cascade", "soft", "dense", "--data", data, "--budget", "0.9", "--limit", "60")
    assert found["test"]["samples"] <= 60


def test_signals_with_classes_go_through_a_cascade(place: Path) -> None:
    (place / "of_signals.py").write_text(
        MODULE.replace("Linear(8, 1)", "Linear(8, 2)").replace("Linear(16, 1)", "Linear(16, 2)")
    )
    labels = np.arange(80) % 2
    np.savez(
        "two.npz",
        inputs=np.random.default_rng(0).normal(size=(80, 1, 16)) + 3 * labels[:, None, None],
        targets=labels,
    )
    found = run("cascade", "of_signals:net", "of_signals:wide", "--data", "two.npz", "--budget", "0.8")
    assert found["test"]["samples"] == 16 and len(found["models"]) == 2
    sys.modules.pop("of_signals", None)


def narrow(num_classes: int = 1, in_channels: int = 3) -> nn.Module:
    """The U-Net with few channels."""
    return models.unet(num_classes, in_channels, width=4)


def test_maps_in_a_file_are_segmented(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL", reason="Pillow is not installed")
    monkeypatch.setitem(catalogue._OURS, "unet", narrow)
    words = "train maps.npz unet --epochs 1 --limit 4 --batch-size 4 --optimizer adam --lr 0.01".split()
    trained = run(*words, "-o", "dense")
    assert trained["metric"] == "mean IoU, percent" and trained["model"]["options"] == {
        "num_classes": 1,
        "in_channels": 3,
    }
    found = run("segment", "--data", "maps.npz", "--model", "dense", "--limit", "4", "-o", "masks")
    assert found["IoU"] == pytest.approx(trained["value"]) and len(list(Path("masks").glob("*.png"))) == 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere:task", "Cannot import 'nowhere' of 'nowhere:task': ModuleNotFoundError"),
        ("mine:hights", "'mine' has no attribute 'hights'. Did you mean heights"),
        ("mine:number", "'mine:number' is a int: expected a function or class that makes the task."),
        ("mine:breaks", "Building mine:breaks() failed: ValueError: no such thing."),
        ("mine:leaves", "Building mine:leaves() failed: SystemExit: 3."),
        ("mine:nothing", "'mine:nothing' returned nothing: expected a prunus.Task."),
        ("mine:loader", "'mine:loader' returned a list: expected a prunus.Task."),
        ("mine:net", "'mine:net' returned a Sequential: expected a prunus.Task."),
        ("mine:needs", "missing 1 required positional argument: 'path'"),
        ("mine:torn", "must be a pair (inputs, targets)"),
        (
            "mine.py:heights",
            "A module is named as Python imports it, with dots and without .py, seen from here: mine:",
        ),
        ("folder/mine.py:heights", "seen from here: folder.mine:"),
        ("none.npz", "There is no file none.npz."),
        ("mine.npz", "is a folder; a file is needed"),
    ],
)
@pytest.mark.parametrize("verb", ["prune", "train", "compare", "cascade", "latency", "segment"])
def test_what_cannot_be_read_is_one_sentence_of_every_command(
    place: Path, name: str, text: str, verb: str
) -> None:
    (place / "mine.npz").mkdir()
    words = {
        "prune": ["prune", "mine:net", "--macs", "0.5", "-o", "out", *BARE, "--data", name],
        "train": ["train", name, "mine:net", *FEW, "-o", "out"],
        "compare": ["compare", "mine:net", "mine:wide", "--data", name],
        "cascade": ["cascade", "mine:net", "mine:wide", "--budget", "0.5", "--data", name],
        "latency": ["latency", "mine:net", "--data", name],
        "segment": ["segment", "--model", "mine:net", "--data", name],
    }[verb]
    told = invoke(*words)
    said = [line for line in told.stderr.splitlines() if line.startswith("prunus:")]
    assert told.exit_code == 1 and len(said) == 1 and text in said[0], told.output
    assert not Path("out/model.safetensors").exists()


def test_what_was_found_is_said_before_work_begins(place: Path) -> None:
    told = invoke("prune", "lenet5", "--data", "pictures.npz", "--macs", "1.5", "-o", "out", *BARE)
    line = (
        "Data: pictures.npz: 2 classes (0, 1), 172 samples to train on, 20 to choose by, 48 to report on, one"
        " of 1×8×8; top-1 accuracy."
    )
    assert line not in told.stdout and (told.exit_code == 1 or line in told.stderr)
    told = invoke("prune", "lenet5", "--data", "pictures.npz", "--macs", "0.5", "-o", "out", *BARE)
    assert told.exit_code == 0 and told.stderr.startswith(line)


def test_a_run_folder_never_imports_what_it_names(place: Path) -> None:
    run("prune", "lenet5", "--data", "mine:digits", "--limit", "40", "--macs", "0.5", *BARE, "-o", "out")
    sys.modules.pop("mine", None)
    (place / "mine.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    assert json.loads(Path("out/result.json").read_text())["model"]["data"]["name"] == "mine:digits"
    for words in (
        ["profile", "out"],
        ["compare", "out", "out", "--no-onnx"],
        ["prune", "out", "--macs", "0.5", *BARE, "-o", "again"],
    ):
        assert invoke(*words).exit_code == 0
    run("train", "digits", "lenet5", *FEW, "--limit", "60", "-o", "trained")
    recipe = Path("trained/recipe.toml")
    recipe.write_text(recipe.read_text().replace('data = "digits"', 'data = "mine:digits"'))
    told = invoke("train", "--resume", "-o", "trained")
    assert told.exit_code == 1 and "prunus does not call what a file names" in " ".join(told.stderr.split())
    assert not (place / "ran").exists()


def test_tuning_settings_of_prune_are_those_of_train(place: Path) -> None:
    words = ["prune", "mine:wide", "--data", "heights.npz", "--macs", "0.5", *FEW, *BARE, "-o", "out"]
    own = (
        "--optimizer adamw --schedule step --milestones 0.25 --milestones 0.5 --clip 2 --ema 0.5 "
        "--batch-size 7"
    ).split()
    config = run(*words, *own)["training"][0]["config"]
    assert (
        config["optimizer"] == "adamw"
        and config["milestones"] == [0.25, 0.5]
        and (config["clip"], config["ema"], config["batch_size"]) == (2, 0.5, 7)
    )
    for wrong in (["--optimizer", "adm"], ["--schedule", "stair"], ["--keep", "worst"]):
        told = invoke(*words, *wrong)
        assert told.exit_code == 1 and wrong[0].strip("-") in told.stderr


def test_threads_that_read_change_nothing(place: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    draw = np.random.default_rng(0)
    for part, label, number in ((p, c, n) for p in ("train", "test") for c in "ab" for n in range(9)):
        Path("set", part, label).mkdir(parents=True, exist_ok=True)
        pillow.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)).save(
            f"set/{part}/{label}/{number}.png"
        )
    for workers in ("0", "3"):
        run("train", "set", "lenet5", *FEW, "--workers", workers, "-o", f"with-{workers}")
    first, second = (load_file(f"with-{workers}/model.safetensors") for workers in ("0", "3"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_file_in_8_bits_is_judged_by_any_metric_or_refused_before_work(place: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    words = [
        *(
            "compress mine:wide --data heights.npz --macs 0.7 --int8 --int8-tolerance 90 --confidence 0.6"
        ).split(),
        *FEW,
    ]
    found = run(*words, "--no-report", "-o", "out")
    assert (
        found["int8"]["metric"] == "R², percent"
        and Path("out/model.int8.onnx").exists()
        and found["int8"]["held_out"] == 7
    )
    heads = 'loss="model", core_forward=lambda model, x: model[:3](x)'
    (place / "boxes.py").write_text(MODULE.replace("loss=nn.functional.mse_loss", heads))
    told = invoke("compress", "mine:wide", "--data", "boxes:heights", "--macs", "0.7", "--int8", "-o", "none")
    assert (
        told.exit_code == 1
        and "before there are boxes" in " ".join(told.stderr.split())
        and "tracing" not in told.stderr
    )
    sys.modules.pop("boxes", None)
