"""ONNX graphs inside coded files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus.coding import Grid, container, values_of
from prunus.deploy import onnx_file
from prunus.deploy.skeleton import skeleton, write_onnx
from prunus.errors import FileFormatError, PrunusError
from prunus.models import lenet5
from prunus.paint.model_copy import named_tensors
from prunus.storage import save_coded
from prunus.storage.coded_file import read_coded

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
DIGIT = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
READER = Path(__file__).parents[2] / "examples" / "coded_reader.py"


class Mixed(nn.Module):
    """Weights that an exporter hands on as they are, transposed, in another shape and added up."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)  # does nothing but add, as one that was folded
        self.scale = nn.Parameter(torch.rand(6, 1, 1, generator=torch.Generator().manual_seed(1)))
        self.wide = nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(2)))
        self.head = nn.Linear(4, 3)
        with torch.no_grad():
            self.norm.bias.copy_(torch.randn(6, generator=torch.Generator().manual_seed(3)))
            assert self.norm.running_var is not None
            self.norm.running_var.fill_(float(np.float32(1) - np.float32(1e-5)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu() * self.scale
        return self.head(x.mean((2, 3)) @ self.wide)


def packed(model: nn.Module, path: Path) -> nn.Module:
    """The model with its parameters on a grid, and a file of it with an ONNX skeleton."""
    coded = {}
    with torch.no_grad():
        for name, tensor in model.eval().named_parameters():
            coded[name] = Grid(np.rint(tensor.numpy() * 16).astype(np.int32), 1 / 16)
            tensor.copy_(torch.from_numpy(values_of(coded[name])))
    save_coded(model, coded, path, skeleton=skeleton(model, DIGIT))
    return model


def reader() -> Any:
    """The example, which imports nothing of ours."""
    spec = importlib.util.spec_from_file_location("coded_reader", READER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("build", [lambda: lenet5(image_size=8), Mixed], ids=["lenet5", "mixed"])
@pytest.mark.parametrize("int8", [False, True])
def test_the_onnx_file_computes_what_the_network_computes(build: Any, int8: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = packed(build(), tmp_path / "model.prunus")
    kept = write_onnx(tmp_path / "model.prunus", tmp_path / "model.onnx", int8=int8)
    assert (kept > 0) == int8
    (found,) = onnx_file.runner(tmp_path / "model.onnx")(DIGIT)
    wanted = model(DIGIT).detach().numpy()
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_no_weight_is_in_the_skeleton_but_by_reference(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = packed(Mixed(), tmp_path / "model.prunus")
    entries, graph = read_coded(tmp_path / "model.prunus")
    for name, tensor in named_tensors(model).items():
        if tensor.numel() > 4 and not name.startswith("norm"):
            assert tensor.detach().numpy().tobytes() not in graph, name
    assert sum(values_of(entry.coded).nbytes for entry in entries) > 400
    packed(lenet5(image_size=8), tmp_path / "model.prunus")
    sizes = container.sizes((tmp_path / "model.prunus").read_bytes())
    assert sizes["ONNX skeleton"] < 80  # of a graph that the dictionary knows most of


def test_two_hundred_lines_without_torch_read_the_same(tmp_path: Path) -> None:
    """A second implementation of the format, and of the coder, from the page alone."""
    torch.manual_seed(0)
    dense = lenet5(image_size=8).eval()
    graph = prunus.trace(dense, DIGIT)
    compact = prunus.compact(dense, prunus.plan(graph, prunus.scores.norm(graph), rate=0.8))
    alone = reader()
    for model in (compact, Mixed()):
        packed(model, tmp_path / "model.prunus")
        parts = alone.sections((tmp_path / "model.prunus").read_bytes())
        entries, _ = read_coded(tmp_path / "model.prunus")
        for (_, values), entry in zip(alone.tensors(parts), entries, strict=True):
            wanted = values_of(entry.coded)
            assert values.shape == wanted.shape and values.tobytes() == wanted.tobytes()
        write_onnx(tmp_path / "model.prunus", tmp_path / "model.onnx")
        assert alone.onnx(parts) == (tmp_path / "model.onnx").read_bytes()


def test_the_reader_takes_tensors_of_every_kind() -> None:
    from tests.coding.test_container import ENTRIES

    alone = reader()
    data = container.write(b"network", ENTRIES)
    for (_, values), entry in zip(alone.tensors(alone.sections(data)), ENTRIES, strict=True):
        wanted = values_of(entry.coded)
        assert values.shape == wanted.shape and values.tobytes() == wanted.tobytes()
    with pytest.raises(ValueError, match="no whole"):
        alone.sections(data[:-1])


def test_the_reader_needs_numpy_alone_and_is_short() -> None:
    lines = READER.read_text().splitlines()
    imported = [line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))]
    assert set(imported) - {"numpy"} <= sys.stdlib_module_names
    code = [
        line
        for line in lines
        if not (line.startswith('    "') and len(line) > 60 and " " not in line.strip())
    ]
    assert len(code) <= 200


def test_files_and_networks_without_a_graph_are_told(tmp_path: Path) -> None:
    model = lenet5(image_size=8).eval()
    save_coded(model, {}, tmp_path / "model.prunus")
    with pytest.raises(FileFormatError, match=r"holds no ONNX graph: load the network with prunus\.load"):
        write_onnx(tmp_path / "model.prunus", tmp_path / "model.onnx")
    big = nn.Sequential(nn.Conv2d(1, 512, 5), nn.BatchNorm2d(512), nn.ReLU()).eval()
    with torch.no_grad():
        big[1].running_var.mul_(2)
    with pytest.raises(PrunusError, match="constants are none of the coded tensors"):
        skeleton(big, DIGIT)
