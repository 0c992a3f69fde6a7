"""Two networks beside one another: their latency, and how far their outputs are apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from prunus.errors import ConfigError
from prunus.measure.comparison import compare_latency, output_difference

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


def network(width: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 10)
    )


INPUTS = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)


def test_two_models_in_both_runtimes(tmp_path: Path) -> None:
    kept = tmp_path / "after.onnx"
    steps: list[str] = []
    measured, check = compare_latency(
        network(12), network(3), INPUTS, onnx_path=kept, repeats=3, watch=steps.append
    )
    assert [(row.runtime, row.batch, row.threads) for row in measured] == [
        ("PyTorch", 2, 1),
        ("ONNX Runtime", 2, 1),
    ]
    assert check is not None and check.path == kept and kept.is_file()
    assert steps == ["measuring PyTorch", "exporting to ONNX", "measuring ONNX Runtime"]
    measured, check = compare_latency(network(12), network(3), INPUTS, with_onnx=False, repeats=1)
    assert len(measured) == 1 and check is None


def test_output_difference() -> None:
    first, second = network(), network()
    assert output_difference(first, second, INPUTS).max_abs == 0
    with torch.no_grad():
        second[4].bias[3] += 0.25
    difference = output_difference(first, second, INPUTS)
    with torch.no_grad():
        largest = float(first.eval()(INPUTS).abs().max())
    assert difference.max_abs == pytest.approx(0.25, rel=1e-5)
    assert difference.relative == pytest.approx(0.25 / largest, rel=1e-5)
    with pytest.raises(ConfigError, match=r"returns a tensor of shape \(2, 10\) instead of"):
        output_difference(nn.Flatten(), network(), INPUTS)
