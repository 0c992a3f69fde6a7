"""ONNX files: checked against the model, whole or not at all, and one sentence where it cannot be."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus._foundation.agreement import Difference
from prunus.deploy import onnx
from prunus.deploy.sheet import DataSheet, sheet_of
from prunus.errors import ConfigError, MissingExtraError, PrunusError, VerifyError
from prunus.measure.comparison import compare_latency, output_difference
from prunus.measure.timing import measure_onnx

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


def test_dynamic_batch(tmp_path: Path) -> None:
    path = onnx.export(network(), INPUTS, tmp_path / "model.onnx", dynamic_batch=True).path
    assert measure_onnx({"a": path}, torch.zeros(5, 1, 8, 8), repeats=1)["a"].repeats == 1


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


def test_wrong_number_of_inputs(tmp_path: Path) -> None:
    path = onnx.export(network(), INPUTS, tmp_path / "model.onnx").path
    with pytest.raises(PrunusError, match=r"takes 1 inputs .* 2 tensors were given"):
        measure_onnx({"a": path}, (INPUTS, INPUTS), repeats=1)


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
    found = torch.from_numpy(onnx.runner(path)(pixels)[0])
    with torch.no_grad():
        expected = model.eval()((pixels / 255 - 0.5) / 0.25)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert properties_of(path)["inputs"] == "pixels from 0 to 255" and "mean" not in properties_of(path)


def test_pixels_need_a_normalisation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="how pixels are normalised"):
        onnx.export(network(), INPUTS, tmp_path / "model.onnx", takes_pixels=True)
    assert not (tmp_path / "model.onnx").exists()


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
    nn.init.constant_(model[0].bias, -5.0)  # type: ignore[arg-type]
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
        nn.init.normal_(model[0].weight)  # type: ignore[arg-type]
        check = onnx.export(model, images, tmp_path / "net.onnx")
        assert check.relative < 1e-5 and sorted(one.name for one in tmp_path.iterdir()) == [
            "net.onnx",
            "net.onnx.data",
        ]
        torch.testing.assert_close(
            torch.as_tensor(onnx.runner(tmp_path / "net.onnx")(images)[0]), model(images)
        )


def test_pictures_say_their_own_normalisation() -> None:
    class Pictures:
        normalise = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))

    class Job:
        normalise, test, classes = None, Pictures(), ("ground", "water")

    assert sheet_of(Job()) == DataSheet(("ground", "water"), *Pictures.normalise)  # type: ignore[arg-type]
    assert sheet_of(None) == DataSheet()
