"""A file is called like the model that it was exported from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prunus.deploy import onnx
from prunus.deploy.file_network import FileNetwork
from prunus.errors import ConfigError

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x * 2


@pytest.mark.parametrize("count", [1, 3, 7])
def test_batches_of_any_size_go_through_those_of_the_file(count: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    file = onnx.export(model, torch.randn(3, 3, 4), tmp_path / "model.onnx").path
    x = torch.randn(count, 3, 4)
    with torch.no_grad():
        torch.testing.assert_close(FileNetwork(file)(x.double()), model(x), rtol=1e-5, atol=1e-6)


def test_several_outputs_are_no_network_that_a_task_can_measure(tmp_path: Path) -> None:
    file = onnx.export(Two(), torch.randn(2, 3), tmp_path / "two.onnx").path
    with pytest.raises(ConfigError, match=r"two\.onnx has 1 inputs and 2 outputs"):
        FileNetwork(file)


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"sum": x.sum(1), "made by": "us", "all": [x * 2]}


def test_outputs_come_in_the_form_of_the_model(tmp_path: Path) -> None:
    model, x = Named(), torch.randn(5, 3)
    file = onnx.export(model, x[:2], tmp_path / "named.onnx").path
    found = FileNetwork(file, like=model(x[:1]))(x)
    assert list(found) == ["sum", "made by", "all"] and found["made by"] == "us"
    torch.testing.assert_close([found["sum"], *found["all"]], [x.sum(1), x * 2])
