"""A coded file of a network by its name, and what is made of such a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import prunus
from prunus import models, runs
from prunus.errors import ConfigError
from prunus.runs.packing import PackSettings
from prunus.storage.coded_file import read_about


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("packed")
    torch.manual_seed(0)
    torch.save(models.lenet5(image_size=8).state_dict(), folder / "weights.pt")
    network = runs.Network("lenet5", folder / "weights.pt")
    result = runs.pack(
        network,
        runs.Data("digits", limit=200),
        folder / "model.prunus",
        PackSettings(error=0.1, samples=64),
        report=folder / "page.html",
        command="prunus pack lenet5",
    )
    return folder, result


def test_the_file_is_told_about(packed: tuple[Path, dict[str, object]]) -> None:
    folder, result = packed
    assert json.loads(json.dumps(result)) == result
    assert result["bytes"] == (folder / "model.prunus").stat().st_size
    assert result["target"] == {"error": 0.1}
    assert result["trials"] == []
    about = read_about(folder / "model.prunus")
    assert about["input_shape"] == [1, 1, 8, 8]
    assert len(about["classes"]) == 10
    page = (folder / "page.html").read_text()
    assert "prunus pack lenet5" in page
    assert "fc1.weight" in page.replace("<wbr>", "")


def test_it_becomes_safetensors_and_onnx_with_the_same_outputs(
    packed: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    folder, _ = packed
    model = prunus.load(folder / "model.prunus")
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        expected = model(x).numpy()
    sizes = []
    for name, int8 in (("plain.onnx", False), ("small.onnx", True)):
        found = runs.unpack(folder / "model.prunus", tmp_path / name, int8=int8)
        session = runtime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"])
        outputs = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
        sizes.append(found["bytes"])
    assert sizes[1] < 0.4 * sizes[0]
    runs.unpack(folder / "model.prunus", tmp_path / "model.safetensors")
    again = prunus.load(tmp_path / "model.safetensors", lambda: models.lenet5(image_size=8))
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_a_bare_file_tells_nothing_and_cannot_become_onnx(tmp_path: Path) -> None:
    settings = PackSettings(bits=3, samples=32, bare=True)
    runs.pack("lenet5", runs.Data("digits", limit=100), tmp_path / "bare.prunus", settings)
    assert read_about(tmp_path / "bare.prunus") == {}
    with pytest.raises(prunus.PrunusError, match=r"ONNX"):
        runs.unpack(tmp_path / "bare.prunus", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_endings_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"to .safetensors"):
        runs.unpack(tmp_path / "model.prunus", tmp_path / "model.pt")
    with pytest.raises(ConfigError, match=r"leave --int8 out"):
        runs.unpack(tmp_path / "model.prunus", tmp_path / "model.safetensors", int8=True)


def test_grids_are_trained_for_epochs_at_a_rate() -> None:
    with pytest.raises(ConfigError, match=r"give both, or neither"):
        PackSettings(epochs=3)
    assert PackSettings(epochs=3, rate=0.1).target() == {"rate": 0.1}
    assert PackSettings().target() == {"tolerance": 0.5}


def test_a_pruned_network_is_unpacked_with_what_was_removed(tmp_path: Path) -> None:
    data = runs.Data("digits", limit=100)
    torch.manual_seed(0)
    torch.save(models.lenet5(image_size=8).state_dict(), tmp_path / "weights.pt")
    runs.prune(
        runs.Network("lenet5", tmp_path / "weights.pt"),
        tmp_path / "run",
        runs.PruneSettings(rate=0.5),
        data=data,
        delivery=runs.Delivery(onnx=False, report=False),
    )
    pruned = runs.Network(str(tmp_path / "run"))
    for bare in (False, True):
        file = tmp_path / f"{bare}.prunus"
        runs.pack(pruned, data, file, PackSettings(error=0.1, samples=32, bare=bare))
    runs.unpack(tmp_path / "False.prunus", tmp_path / "model.safetensors")
    again = prunus.load(tmp_path / "model.safetensors", lambda: models.lenet5(image_size=8))
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(x), prunus.load(tmp_path / "False.prunus")(x))
    with pytest.raises(prunus.PrunusError, match=r"pack it without --bare"):
        runs.unpack(tmp_path / "True.prunus", tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()
