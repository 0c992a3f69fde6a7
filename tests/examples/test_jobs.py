"""The three jobs of the examples, at a small size: each from Python and by one command line, with all that a
run leaves behind.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.torchvision_shim import missing
from typer.testing import CliRunner

import prunus
from prunus.cli.app import app
from prunus.runs import Delivery

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
ADAM = ["--optimizer", "adam", "--lr", "0.005"]
FILES = {"model.safetensors", "model.onnx", "plan.json", "result.json", "report.html"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the examples on Python's path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    torch.manual_seed(0)  # whatever ran before in this process
    return tmp_path


def run(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def recorded(folder: str = "out-python") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "result.json").read_text())
    return found


def test_signals_of_ones_own(place: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    import_module("signals").main(1300, Delivery(onnx=False, report=False))
    by_python = recorded()
    words = (
        "prune signals:network --weights dense.safetensors --data signals.npz --tolerance 3 --confidence 0.9"
    ).split()
    by_command = run(*words, "--trial-epochs", "1", "--epochs", "3", *ADAM, "--batch-size", "32", "-o", "out")
    assert {path.name for path in Path("out").iterdir()} >= FILES
    for result in (by_python, by_command):
        assert result["cost"]["after"]["macs"] < 0.7 * result["cost"]["before"]["macs"]
        assert {"before", "after compensation", "after fine-tuning"} <= {
            step["step"] for step in result["accuracy"]["steps"]
        }
        accepted = [trial for trial in result["search"]["trials"] if trial["accepted"]]
        assert accepted and all(result["search"]["baseline"] - trial["lowest"] <= 3 for trial in accepted)
        assert result["accuracy"]["steps"][-1]["value"] > result["accuracy"]["steps"][0]["value"] - 6
        assert result["model"]["data"]["name"] == "signals.npz" and result["model"]["input_shape"] == [
            1,
            2,
            64,
        ]
    assert by_command["onnx"]["max_abs"] < 1e-3
    again = run("compare", "out", "out", "--build", "signals:network", "--data", "signals.npz", "--no-onnx")
    assert again["accuracy"]["a"] == pytest.approx(by_command["accuracy"]["steps"][-1]["value"])


def test_pictures_of_ones_own_with_a_void_class(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL", reason="Pillow is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pixels = import_module("pixels")
    monkeypatch.setattr(pixels, "SIDE", 20)
    pixels.main((24, 36, 8), Delivery(onnx=False, report=False))
    by_python = recorded()
    words = (
        "prune pixels:Net --weights dense.safetensors --data shapes --ignore 11 --tolerance 6 --confidence "
        "0.9"
    ).split()
    by_command = run(
        *words,
        *"--trial-epochs 1 --epochs 1".split(),
        *ADAM,
        *"--windows 64 --batch-size 8 -o out".split(),
    )
    assert {path.name for path in Path("out").iterdir()} >= FILES and "mean IoU" in Path(
        "out/report.html"
    ).read_text()
    for result in (by_python, by_command):
        assert result["accuracy"]["metric"] == "mean IoU, percent" and result["accuracy"]["count"] == 8
        assert result["cost"]["after"]["macs"] < result["cost"]["before"]["macs"]
        assert "after compensation" in {step["step"] for step in result["accuracy"]["steps"]}
        assert result["search"]["confidence"] == 0.9
    found = run(
        *(
            "segment --data shapes --ignore 11 --model out --build pixels:Net --tile 32 --overlap 4 -o masks"
        ).split(),
    )
    assert found["IoU"] == pytest.approx(by_command["accuracy"]["steps"][-1]["value"], abs=2) and list(
        found["classes"]
    ) == ["0", "1", "2"]
    assert len(list(Path("masks").iterdir())) == 8


def test_a_detector_of_torchvision(place: Path) -> None:
    if reason := missing("torchvision"):
        pytest.skip(reason)
    pytest.importorskip("pycocotools", reason="the extra detection is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    import_module("detector").main(80, Delivery(onnx=False, report=False))
    by_python = recorded()
    words = "prune detector:network --weights dense.safetensors --data detector:task --limit 80 --macs 0.5".split()
    by_command = run(*words, "--epochs", "4", *ADAM, "-o", "out")
    assert {path.name for path in Path("out").iterdir()} >= FILES
    network = import_module("detector").network
    small: Any = prunus.load("out", network)
    sizes = {
        name: (old.numel(), new.numel())
        for (name, old), new in zip(network().named_parameters(), small.parameters())
    }
    for part in ("backbone.fine", "backbone.coarse", "head.classification_head", "head.regression_head"):
        assert sum(new for name, (_, new) in sizes.items() if name.startswith(part)) < sum(
            old for name, (old, _) in sizes.items() if name.startswith(part)
        )
    for result in (by_python, by_command):
        assert result["cost"]["after"]["macs"] <= 0.5 * result["cost"]["before"]["macs"]
        steps = {step["step"]: step["value"] for step in result["accuracy"]["steps"]}
        assert (
            steps["after fine-tuning"] > 0.6 * steps["before"] > 10
            and result["accuracy"]["metric"] == "mAP, percent"
        )
    assert import_module("detector").task(80).value(small) == pytest.approx(steps["after fine-tuning"])


OWN = """
import torch
import torch.nn.functional as F
from torch import nn

import prunus
from prunus.tasks import MeanAveragePrecision

PLACES = 4


class Detector(nn.Module):
    # one box of eight pixels for every place of a grid, called as torchvision's detectors are
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.heads = nn.ModuleDict({"there": nn.Conv2d(16, 1, 3, padding=1), "shift": nn.Conv2d(16, 2, 3, padding=1)})

    def forward(self, images, targets=None):
        features = self.trunk(torch.stack(list(images)))
        there, shift = self.heads["there"](features)[:, 0].flatten(1), self.heads["shift"](features).flatten(2)
        if self.training:
            corners = torch.stack([target["boxes"][0, :2] for target in targets])
            place = (corners / 4).long()
            place = place[:, 1] * PLACES + place[:, 0]
            found = shift[torch.arange(len(shift)), :, place]
            return {"there": F.cross_entropy(there, place), "shift": F.smooth_l1_loss(found, corners / 4 - (corners / 4).floor())}
        result = []
        for scores, moved in zip(there.softmax(1), shift):
            best = int(scores.argmax())
            corner = 4 * (torch.tensor([best % PLACES, best // PLACES]) + moved[:, best])
            if float(scores[best]) > 0:  # a value is read, through which no trace goes
                box = torch.cat([corner, corner + 8])[None]
                result.append({"boxes": box, "labels": torch.ones(1, dtype=torch.int64), "scores": scores[best:best + 1]})
        return result


def core(model, images):
    features = model.trunk(images)
    return [head(features) for head in model.heads.values()]


def pictures(batches, seed):
    draw, found = torch.Generator().manual_seed(seed), []
    for _ in range(batches):
        corners = torch.randint(8, (8, 2), generator=draw)
        images = torch.zeros(8, 1, 16, 16)
        for image, (left, top) in zip(images, corners.tolist()):
            image[:, top:top + 8, left:left + 8] = 1
        boxes = torch.cat([corners, corners + 8], 1).float()
        found.append((list(images), [{"boxes": box[None], "labels": torch.ones(1, dtype=torch.int64)} for box in boxes]))
    return found


def task():
    return prunus.Task(pictures(30, 0), pictures(5, 1), pictures(5, 2), loss="model", metric=MeanAveragePrecision(0.5), core_forward=core)
"""


def test_a_detector_of_ones_own_that_is_built_as_no_other(place: Path) -> None:
    """Trained, pruned and compared by one command each, without torchvision."""
    pytest.importorskip("pycocotools", reason="the extra detection is not installed")
    (place / "boxes.py").write_text(OWN)
    trained = run(
        *"train boxes:task boxes:Detector --epochs 12 --optimizer adam --lr 0.01 -o dense".split(),
    )
    assert (
        trained["metric"] == "mAP, percent"
        and trained["value"] > 60
        and trained["loss"] is None
        and trained["model"]["data"]["name"] == "boxes:task"
    )
    words = (
        "prune dense --build boxes:Detector --data boxes:task --macs 0.5 --epochs 4 --optimizer adam".split()
    )
    result = run(*words, "--lr", "0.01", "--no-onnx", "--no-report", "-o", "out")
    steps = {step["step"]: step["value"] for step in result["accuracy"]["steps"]}
    assert (
        result["cost"]["after"]["macs"] <= 0.5 * result["cost"]["before"]["macs"]
        and steps["after fine-tuning"] > 0.5 * steps["before"]
    )
    assert steps["before"] == pytest.approx(trained["value"]) and "after compensation" in steps
    both = run("compare", "dense", "out", "--build", "boxes:Detector", "--data", "boxes:task", "--no-onnx")
    assert [both["accuracy"][side] for side in ("a", "b")] == pytest.approx(
        [trained["value"], steps["after fine-tuning"]]
    )


def test_suppression_in_python_leaves_the_best_of_what_overlaps() -> None:
    from tests.torchvision_shim import nms

    boxes = torch.tensor(
        [[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 0, 10, 4]], dtype=torch.float32
    )
    assert nms(boxes, torch.tensor([0.5, 0.9, 0.1, 0.8]), 0.5).tolist() == [1, 3, 2]
