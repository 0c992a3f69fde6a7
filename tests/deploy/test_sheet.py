"""What a file says of itself: what it is, what it is for, and how its inputs are normalised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import prunus
from prunus.deploy import onnx, onnx_file
from prunus.deploy.sheet import DataSheet, sheet_of
from prunus.errors import ConfigError

runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


def network(width: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 10)
    )


INPUTS = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    model = network()
    graph = prunus.trace(model, INPUTS)
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    said = []
    for number, one in enumerate((model, small)):
        path = onnx.export(one, INPUTS, tmp_path / f"{number}.onnx").path
        said.append(
            runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            .get_modelmeta()
            .custom_metadata_map
        )
    assert said[0] == {"prunus": prunus.__version__, "torch": torch.__version__}
    assert said[1] == said[0] | {
        "macs": f"{small.prunus.plan.after.macs} of {graph.cost().macs}",
        "parameters": (
            f"{sum(one.numel() for one in small.parameters())} of"
            f" {sum(one.numel() for one in model.parameters())}"
        ),
    }


def properties_of(path: Path) -> dict[str, str]:
    return dict(
        runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        .get_modelmeta()
        .custom_metadata_map
    )


def test_the_file_says_what_it_is_for(tmp_path: Path) -> None:
    sheet = DataSheet(("Katze", "köter"), (0.5,), (0.25,))
    found = properties_of(onnx.export(network(), INPUTS, tmp_path / "model.onnx", sheet=sheet).path)
    assert json.loads(found["classes"]) == ["Katze", "köter"]
    assert (json.loads(found["mean"]), json.loads(found["std"])) == ([0.5], [0.25])


@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_a_file_that_takes_pixels_normalises_them_itself(dynamic_batch: bool, tmp_path: Path) -> None:
    model, sheet = network(), DataSheet(mean=(0.5,), std=(0.25,))
    path = onnx.export(
        model, INPUTS, tmp_path / "model.onnx", dynamic_batch, sheet=sheet, takes_pixels=True
    ).path
    pixels = torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    found = torch.from_numpy(onnx_file.runner(path)(pixels)[0])
    with torch.no_grad():
        expected = model.eval()((pixels / 255 - 0.5) / 0.25)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert properties_of(path)["inputs"] == "pixels from 0 to 255" and "mean" not in properties_of(path)


def test_pixels_need_a_normalisation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="how pixels are normalised"):
        onnx.export(network(), INPUTS, tmp_path / "model.onnx", takes_pixels=True)
    assert not (tmp_path / "model.onnx").exists()


def test_pictures_say_their_own_normalisation() -> None:
    class Pictures:
        normalise = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))

    class Job:
        normalise, test, classes = None, Pictures(), ("ground", "water")

    assert sheet_of(Job()) == DataSheet(("ground", "water"), *Pictures.normalise)  # type: ignore[arg-type]
    assert sheet_of(None) == DataSheet()
