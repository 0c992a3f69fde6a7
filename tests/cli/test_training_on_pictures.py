"""`prunus train` on pictures with masks, importance weights from the command line, and `prunus segment` on
what comes out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from prunus import data
from prunus.cli.app import app
from prunus.runs.loading import open_model
from prunus.training import evaluate

PILLOW = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
SMALL = """from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))
"""
SHORT = tuple(
    (
        "--window 32 --windows 24 --batch-size 4 --optimizer adam --lr 0.01 --weight-decay 0 --validation "
        "0.25"
    ).split()
)


def invoke(*args: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*args, "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with twelve tiles of bright rectangles, and the module of a small network."""
    draw = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "tiles" / kind).mkdir(parents=True)
    for row in range(3):
        for column in range(4):
            image, mask = draw.integers(0, 90, (40, 40, 3), dtype=np.uint8), np.zeros((40, 40), np.uint8)
            top, left = draw.integers(0, 20, 2)
            mask[top : top + 16, left : left + 18] = 255
            image[mask > 0] += 140
            PILLOW.fromarray(image).save(tmp_path / "tiles" / "images" / f"t_{row}_{column}.png")
            PILLOW.fromarray(mask).save(tmp_path / "tiles" / "masks" / f"t_{row}_{column}.png")
    (tmp_path / "small_pixels.py").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_training_on_pictures_can_be_used_to_segment(place: Path) -> None:
    result = invoke(
        "train",
        "tiles",
        "small_pixels:build",
        *SHORT,
        *"--epochs 3 --block 2 --keep best -o out".split(),
    )
    counts = result["model"]["data"]
    assert (counts["train"] + counts["validation"] + counts["test"], counts["test"] >= 3) == (12, True)
    assert (
        result["test"]["pixel accuracy"] > 90
        and result["test"]["IoU"] > 60
        and len(result["training"]["epochs"]) == 3
    )
    lines = [json.loads(line) for line in (place / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(
        line["IoU"] == line["validation_accuracy"] and line["Dice"] > line["IoU"] for line in lines[1:]
    )
    found = invoke(
        *(
            "segment tiles/images/t_0_0.png --model out --build small_pixels:build -o mask.png --tile 32 "
            "--overlap 8"
        ).split(),
    )
    wanted, mask = (np.asarray(PILLOW.open(place / path)) for path in ("tiles/masks/t_0_0.png", "mask.png"))
    assert (wanted == mask).mean() > 0.9 and sum(found["pixels"].values()) == 1600
    again = CliRunner().invoke(
        app, ["train", "tiles", "small_pixels:build", *SHORT, "--epochs", "3", "-o", "out"]
    )
    assert again.exit_code == 1 and "--resume goes on with it" in again.output.replace("\n", " ")
    assert invoke("train", "tiles", "small_pixels:build", "-o", "out", "--resume")["test"] == result["test"]
    unsaid = CliRunner().invoke(app, ["train", "-o", "out", "--resume"])
    assert unsaid.exit_code == 1 and "does not call what a file names" in unsaid.output.replace("\n", " ")


def test_importance_weights_on_pictures(place: Path) -> None:
    options = tuple("--method importance --tolerance 90 --step 0.6 --tune-epochs 1 --tune-lr 0.003".split())
    result = invoke(
        "train",
        "tiles",
        "small_pixels:build",
        *SHORT,
        *"--epochs 2 --loss cross-entropy+log-jaccard".split(),
        *options,
        "-o",
        "out",
    )
    assert result["cost"]["after"]["macs"] < 0.6 * result["cost"]["before"]["macs"]
    assert (
        any(trial["accepted"] for trial in result["trials"])
        and result["pruned"].keys() == result["test"].keys()
    )
    own = ("--model", "out", "--build", "small_pixels:build")
    invoke("segment", "tiles/images/t_0_0.png", *own, "-o", "mask.png", "--tile", "32", "--overlap", "8")
    assert {"model.safetensors", "plan.json", "training.json", "metrics.jsonl", "recipe.toml"} <= {
        path.name for path in (place / "out").iterdir()
    }
    shown = CliRunner().invoke(app, ["train", "tiles", "small_pixels:build", "-o", "out", "--resume"])
    assert shown.exit_code == 0 and "of the MACs: pixel accuracy" in shown.output.replace("\n", " ")


def test_other_methods_take_pictures_as_a_task(place: Path) -> None:
    options = tuple("--epochs 2 --method slimming --rate 0.4 --scope uniform --no-onnx --no-report".split())
    result = invoke("train", "tiles", "small_pixels:build", *SHORT, *options, "-o", "out")
    assert (
        result["cost"]["after"]["macs"] < result["cost"]["before"]["macs"]
        and result["target"]["score"] == "bn-scale"
    )
    assert result["accuracy"]["steps"][0]["step"] == "slimmed" and result["verification"]["relative"] < 1e-4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("tiles", "--select", "random"), "select must be all"),
        (("tiles", "--method", "dynamic"), "the method not dynamic"),
        (("tiles", "--method", "importance", "--validation", "0"), "validation must be above 0"),
        (("digits", "--loss", "dice"), "The loss dice is of pixels, and digits holds no pictures with masks"),
        (("tiles", "--block", "9"), "cannot be split"),
    ],
)
def test_what_does_not_go_together_is_told(place: Path, options: tuple[str, ...], says: str) -> None:
    name, *rest = options
    result = CliRunner().invoke(app, ["train", name, "small_pixels:build", *SHORT, *rest, "-o", "out"])
    assert result.exit_code == 1 and says in result.output.replace("\n", " ")


def test_importance_weights_on_digits(tmp_path: Path) -> None:
    options = tuple(
        "--epochs 4 --lr 0.05 --no-onnx --no-report --method importance --tolerance 8 --step 0.6".split()
    )
    result = invoke("train", "digits", "lenet5", *options, "--tune-epochs", "1", "-o", str(tmp_path))
    assert result["target"]["kind"] == "tolerance" and result["target"]["score"] == "importance weights"
    assert (
        result["cost"]["after"]["macs"] < 0.7 * result["cost"]["before"]["macs"]
        and result["search"]["trials"]
    )
    digits = data.load("digits")
    opened = open_model(str(tmp_path))
    assert opened.normalise == digits.normalise
    assert evaluate(opened.model, digits.test, digits.normalise).accuracy == pytest.approx(
        result["accuracy"]["steps"][-1]["value"]
    )


def test_a_segmentation_network_is_pruned_like_any_other(place: Path) -> None:
    """Its own class, validation pictures of their own and a void label: pixels are scored by, compensated,
    tuned and kept within a tolerance.
    """
    for number, path in enumerate(sorted((place / "tiles" / "images").iterdir())):
        part = "val" if number % 3 == 0 else "test" if number % 3 == 1 else "train"
        for kind, source in (("images", path), ("masks", place / "tiles" / "masks" / path.name)):
            (place / "set" / part / kind).mkdir(parents=True, exist_ok=True)
            array = np.array(PILLOW.open(source))
            if kind == "masks":
                array = np.where(array > 0, 1, 0).astype(np.uint8)
                array[-3:] = 7
            PILLOW.fromarray(array).save(place / "set" / part / kind / path.name)
    (place / "two_maps.py").write_text(SMALL.replace("nn.Conv2d(8, 1, 1)", "nn.Conv2d(8, 2, 1)"))
    invoke("train", "set", "two_maps:build", *SHORT, "--epochs", "2", "--ignore", "7", "-o", "dense")
    words = ("--data", "set", "--ignore", "7", "--rate", "0.4", "--epochs", "1", "--no-onnx", "--no-report")
    result = invoke("prune", "dense", "--build", "two_maps:build", *words, "-o", "small")
    found = {
        "name": "set",
        "train": 4,
        "validation": 4,
        "test": 4,
        "mean": 0,
        "std": 0,
        "classes": ["0", "1"],
    }
    assert result["model"]["data"] | {"mean": 0, "std": 0} == found
    assert (
        result["accuracy"]["metric"] == "mean IoU, percent"
        and result["accuracy"]["note"] == "4 test pictures, by which nothing was chosen."
    )
    assert [step["step"] for step in result["accuracy"]["steps"]][-2:] == [
        "after recalibration",
        "after fine-tuning",
    ]
    assert result["cost"]["after"]["macs"] < result["cost"]["before"]["macs"] * 0.7
    kept = invoke(
        *"prune dense --build two_maps:build".split(),
        *words[:4],
        *"--tolerance 60 --no-onnx --no-report -o within".split(),
    )
    assert kept["search"]["confidence"] == 0.95 and any(
        trial["lowest"] < trial["value"] for trial in kept["search"]["trials"]
    )
    failed = CliRunner().invoke(
        app, ["prune", "dense", "--build", "two_maps:build", "--data", "set", "--rate", "0.4", "-o", "never"]
    )
    assert failed.exit_code == 1 and "has class 7" in failed.output
