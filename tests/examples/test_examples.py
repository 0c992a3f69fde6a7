"""The examples at a small size: what each of them is for comes out; those of packages that are not there are skipped."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.hard_networks import YoloLike
from tests.torchvision_shim import missing
from torch import Tensor, nn

import prunus
from prunus.data import load
from prunus.training import TrainConfig, train

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the examples on Python's path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    torch.manual_seed(0)
    return tmp_path


def example(name: str, *packages: str) -> Any:
    """The module; a skip where its packages are not installed."""
    for package in packages:
        if reason := missing(package):
            pytest.skip(reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short(name: str) -> None:
    longest = 230 if name == "coded_reader.py" else 80  # a whole format; see tests/deploy/test_skeleton.py
    assert len((EXAMPLES / name).read_text().splitlines()) <= longest


def test_a_task_of_ones_own() -> None:
    outcome = example("own_task").main(640, 3)
    steps = {step.step: step.value for step in outcome.steps}
    assert outcome.plan.after.macs <= 0.5 * outcome.before.macs
    assert steps["before"] > 50 and steps["after fine-tuning"] > steps["before"] - 15
    assert Path("dense.safetensors").is_file()


def test_a_loop_of_ones_own() -> None:
    small = example("own_loop").main(6)
    test = load("digits").test
    right = small.eval()(test.images.float() / 255).argmax(1) == test.labels
    assert [small[i][0].out_channels for i in range(3)] == [12, 24, 24] and right.float().mean() > 0.85


@pytest.mark.filterwarnings("ignore")
def test_lightning() -> None:
    name = "lightning" if not missing("lightning") else "pytorch_lightning"
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    module = example("lightning_module", name).main(3, logger=False, accelerator="cpu", **quiet)
    test = load("digits").test
    right = module.net.eval()(test.images.float() / 255).argmax(1) == test.labels
    assert [module.net[i][0].out_channels for i in range(3)] == [12, 24, 24] and right.float().mean() > 0.85


@pytest.mark.filterwarnings("ignore")
def test_hugging_face() -> None:
    options = {"use_cpu": True, "disable_tqdm": True, "logging_strategy": "no"}
    found = example("huggingface", "transformers", "accelerate").main(3, **options)
    test = load("digits").test
    with torch.no_grad():
        right = found.eval()(test.images.float() / 255).logits.argmax(1) == test.labels
    assert right.float().mean() > 0.8


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate(precision: str) -> None:
    loop = example("accelerate_loop", "accelerate")
    import_module("accelerate.state").AcceleratorState._reset_state(
        reset_partial_state=True
    )  # others' settings
    small = loop.main(4, precision)
    test = load("digits").test
    right = small.eval()(test.images.float() / 255).argmax(1) == test.labels
    assert [small[i][0].out_channels for i in range(3)] == [12, 24, 24] and right.float().mean() > 0.85


@pytest.mark.filterwarnings("ignore")
def test_timm() -> None:
    small = example("timm_model", "torchvision", "timm").main("mobilenetv3_small_050", 1, 5)
    assert small.forward_features(torch.zeros(1, 3, 32, 32)).shape[0] == 1 and hasattr(
        small, "get_classifier"
    )


@pytest.mark.filterwarnings("ignore")
def test_segmentation_models() -> None:
    small = example("segmentation_models", "torchvision", "segmentation_models_pytorch").main(3, 1)
    assert small(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.filterwarnings("ignore")
def test_monai() -> None:
    small = example("monai_volumes", "monai").main(2, 1)
    assert small(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


def test_onnx_runtime_alone() -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    example("onnx_alone").main(3)
    code = "\n".join(
        (
            "import sys, numpy, onnx_alone",
            "found = onnx_alone.classify('model.onnx', numpy.load('images.npy'))",
            "assert not {'torch', 'prunus'} & set(sys.modules)",
            "numpy.save('found.npy', found)",
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=environment)
    labels = load("digits").test.labels.numpy()
    assert (np.load("found.npy") == labels).mean() > 0.7


class Boxes(nn.Module):
    """A loss of what a head like YOLO's gives in training: anything that its maps learn from."""

    def forward(self, outputs: Any, target: Tensor) -> Tensor:
        _, maps = outputs
        return torch.stack([(one.mean(dim=(2, 3)) - target[:, None]).square().mean() for one in maps]).sum()


def test_a_network_built_as_yolo_is() -> None:
    """Pruned, retrained with averaged weights, exported, and loaded again."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    yolo = example("yolo")
    network = YoloLike()
    head = [tuple(one.shape) for one in network(torch.zeros(1, 3, 32, 32))[1]]
    small = yolo.prune(network, 0.6, 32, round_to=1)
    assert (
        prunus.trace(small, torch.zeros(1, 3, 32, 32)).cost().macs
        <= 0.6 * prunus.trace(network, torch.zeros(1, 3, 32, 32)).cost().macs
    )
    averaged = copy.deepcopy(small)
    data = [(torch.rand(4, 3, 32, 32), torch.rand(4)) for _ in range(3)]
    train(small, data, TrainConfig(epochs=2, lr=0.01, ema=0.9), loss=Boxes())
    assert not torch.equal(small.stem[0].weight, averaged.stem[0].weight)
    assert [tuple(one.shape) for one in small(torch.zeros(1, 3, 32, 32))[1]] == head
    prunus.save(small, "small.safetensors")
    again = prunus.load("small.safetensors", YoloLike)
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(again.eval()(x)[0], small.eval()(x)[0])
    yolo.write(again, "model.onnx", 32)
    assert Path("model.onnx").is_file()


@pytest.mark.filterwarnings("ignore")
def test_yolo_of_ultralytics(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their trainer, their averaged weights, their files; on pictures that are made here."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setenv("YOLO_AUTOINSTALL", "false")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(place))
    yolo = example("yolo", "torchvision", "ultralytics")
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (place / kind / part).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
            image.fromarray(pixels).save(place / "images" / part / f"{number}.png")
            (place / "labels" / part / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    names = "".join(f"  {number}: thing{number}\n" for number in range(80))
    (place / "data.yaml").write_text(f"path: {place}\ntrain: images/train\nval: images/val\nnames:\n{names}")
    options = {"epochs": 1, "batch": 4, "workers": 0, "amp": False, "plots": False, "device": "cpu"}
    again = yolo.main("yolov8n.yaml", str(place / "data.yaml"), 64, project=str(place / "runs"), **options)
    whole = import_module("ultralytics").YOLO("yolov8n.yaml").model
    counts = [sum(p.numel() for p in model.parameters()) for model in (again.model, whole)]
    assert counts[0] < 0.7 * counts[1] and Path("model.onnx").is_file()
