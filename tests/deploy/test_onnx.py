"""ONNX files: checked against the model, whole or not at all, and one sentence where it cannot be."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus._foundation.agreement import Difference
from prunus.deploy import onnx, onnx_file
from prunus.deploy.inputs import split
from prunus.errors import FileFormatError, MissingExtraError, PrunusError, VerifyError
from prunus.measure.timing import measure_onnx
from prunus.surgery.traced.module import TracedModule

runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


def network(width: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 10)
    )


INPUTS = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)


def test_the_file_computes_what_the_model_computes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = network().train()
    path = tmp_path / "new" / "model.onnx"
    check = onnx.export(model, INPUTS, path)
    assert model.training
    assert capfd.readouterr() == ("", "")  # the exporter's chatter stays inside
    assert [one.name for one in path.parent.iterdir()] == ["model.onnx"]  # no drafts, no external data
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    assert entry.shape == [2, 1, 8, 8]
    found = torch.from_numpy(session.run(None, {entry.name: INPUTS.numpy()})[0])
    with torch.no_grad():
        expected = model.eval()(INPUTS)
    assert check.max_abs == pytest.approx(float((found - expected).abs().max()), abs=1e-9)
    assert check.relative == pytest.approx(check.max_abs / float(expected.abs().max()))
    assert check.relative < 1e-5
    assert check.opset >= 18


def test_a_full_disk_is_not_blamed_on_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(draft: Path) -> None:
        raise RuntimeError("wrapped") from OSError(errno.ENOSPC, "No space left on device")

    path = onnx.export(network(), INPUTS, tmp_path / "model.onnx").path
    before = path.read_bytes()
    monkeypatch.setattr(onnx, "tidy", full)
    with pytest.raises(FileFormatError) as told:
        onnx.export(network(8), INPUTS, path)
    assert str(told.value).startswith(f"{path} cannot be written (No space left on device)")
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"] and path.read_bytes() == before


def test_dynamic_batch(tmp_path: Path) -> None:
    path = onnx.export(network(), INPUTS, tmp_path / "model.onnx", dynamic_batch=True).path
    assert measure_onnx({"a": path}, torch.zeros(5, 1, 8, 8), repeats=1)["a"].repeats == 1


class Written(nn.Module):
    """A norm across channels that is written out, and a size that is: `traced` needs the graph."""

    def __init__(self, traced: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.traced = nn.Conv2d(1, 6, 3), nn.Linear(6 * 36, 10), traced

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        y = torch.relu(self.first(x if shift is None else x + shift))
        y = y / (y.pow(2).mean(1, keepdim=True) + 1).sqrt()
        return self.last(y.view(-1, 6 * 36) if self.traced else y.flatten(1))


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("inputs", ["x", "both", "names"])
def test_a_compact_model_takes_batches_of_any_size(traced: bool, inputs: str, tmp_path: Path) -> None:
    def given(batch: Tensor) -> Any:
        both = {"x": batch, "shift": batch[:, :, :1]}
        return {"x": batch, "both": tuple(both.values()), "names": both}[inputs]

    model = Written(traced).eval()
    graph = prunus.trace(model, given(INPUTS))
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    assert isinstance(small, TracedModule) == traced
    path = onnx.export(small, given(INPUTS), tmp_path / "model.onnx", dynamic_batch=True).path
    names = [entry.name for entry in onnx_file.session(path, threads=1).get_inputs()]
    assert names == (["x", "shift"] if inputs == "names" else names)
    more = torch.cat([INPUTS, 1 - INPUTS, INPUTS / 2])
    args, kwargs = split(given(more))
    found = torch.from_numpy(onnx_file.runner(path)(given(more))[0])
    torch.testing.assert_close(found, small(*args, **kwargs).detach(), rtol=1e-5, atol=1e-6)
    assert "forward" not in vars(small)


def test_a_wrong_file_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an earlier file")
    monkeypatch.setattr(onnx, "difference", lambda expected, actual: Difference(0.5, 0.5, 1.0, True))
    with pytest.raises(VerifyError, match=r"differs from the model by 5.0e-01 .* nothing was written"):
        onnx.export(network(), INPUTS, path)
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == b"an earlier file"


def test_a_model_that_cannot_be_exported(tmp_path: Path) -> None:
    class Choosy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(PrunusError, match="Choosy cannot be exported to ONNX: ") as caught:
        onnx.export(Choosy(), INPUTS, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"needs onnxscript; .* pip install 'prunus\[onnx\]'"):
        onnx.export(network(), INPUTS, tmp_path / "model.onnx")


class Several(nn.Module):
    """Returns what it is told to make of one tensor."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.layer, self.made = nn.Linear(8, 4), made

    def forward(self, x: Tensor) -> Any:
        return self.made(self.layer(x))


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (lambda y: y, ["output"]),
        (lambda y: (y, y * 2), ["output_0", "output_1"]),
        (lambda y: {"out": y, "aux": [y * 2, y * 3]}, ["out", "aux_0", "aux_1"]),
    ],
)
def test_outputs_have_names(made: Any, names: list[str], tmp_path: Path) -> None:
    path = onnx.export(Several(made), INPUTS, tmp_path / "model.onnx").path
    assert [
        one.name
        for one in runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_outputs()
    ] == names


@pytest.mark.parametrize("value", [0.0, -1.5])
@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_what_is_padded_in_front_of_a_pooling_counts(
    value: float, dynamic_batch: bool, tmp_path: Path
) -> None:
    """A runtime that takes the padding for the pooling's own forgets it where everything else is negative."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConstantPad2d(1, value), nn.MaxPool2d(3, 2))
    nn.init.constant_(model[0].bias, -5.0)
    x = torch.randn(2, 3, 12, 12)
    assert (model(x) == value).any()
    assert onnx.export(model, x, tmp_path / "model.onnx", dynamic_batch=dynamic_batch).relative < 1e-6


def test_weights_too_large_for_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = pytest.importorskip("torch.onnx._internal.exporter._onnx_program")
    if not hasattr(programs, "_LARGE_MODEL_THRESHOLD"):
        pytest.skip("this version of torch has its limit elsewhere")
    monkeypatch.setattr(programs, "_LARGE_MODEL_THRESHOLD", 1000)
    model, images = (
        nn.Sequential(nn.Conv2d(3, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3)),
        torch.randn(1, 3, 8, 8),
    )
    for _ in range(2):  # the second replaces the first
        nn.init.normal_(model[0].weight)
        check = onnx.export(model, images, tmp_path / "net.onnx")
        assert check.relative < 1e-5 and sorted(one.name for one in tmp_path.iterdir()) == [
            "net.onnx",
            "net.onnx.data",
        ]
        torch.testing.assert_close(
            torch.as_tensor(onnx_file.runner(tmp_path / "net.onnx")(images)[0]), model(images)
        )
