"""An ONNX file of a quantised network holds the weights that are coded, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from prunus.coding.tensors import values_of
from prunus.quantisation.grid import quantise

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


def test_what_an_exporter_folds_is_what_is_coded(tmp_path: Path) -> None:
    from prunus.deploy.onnx import export

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 3)
    ).eval()
    model[1].running_var.uniform_(0.5, 2)
    model[1].running_mean.normal_()
    found = quantise(model, [torch.randn(8, 3, 8, 8)], error=0.01, shares={})
    export(found.model, torch.randn(1, 3, 8, 8), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    there = [onnx.numpy_helper.to_array(one) for one in graph.initializer]
    for name in ("0.weight", "1.bias", "3.weight", "3.bias"):
        wanted = values_of(found.tensors[name])
        assert any(np.array_equal(wanted, one) for one in there if one.shape == wanted.shape), name
