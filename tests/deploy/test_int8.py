"""Quantised files: close to the float file, layers in float where asked or needed, whole or not at all."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunus import data
from prunus.data import ImageData
from prunus.deploy import int8, onnx, onnx_file, qdq
from prunus.deploy.onnx_accuracy import told_right
from prunus.errors import ConfigError, DataError, FileFormatError, MissingExtraError, PrunusError, TargetError
from prunus.training import Calibration, TrainConfig, train
from prunus.training.evaluation import sample_by_sample

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
onnx_format = pytest.importorskip("onnx", reason="the extra onnx is not installed")

LAYERS = ("first", "second", "last")


class Residual(nn.Module):
    """Two convolutions with a shortcut, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.second, self.last = nn.Conv2d(12, 12, 3, padding=1, bias=False), nn.Linear(12 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x) + x)
        return self.last(nn.functional.max_pool2d(x, 2).flatten(1))


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return data.load("digits")


@pytest.fixture(scope="module")
def model(digits: ImageData) -> nn.Module:
    torch.manual_seed(0)
    model = Residual()
    train(model, digits.train, TrainConfig(epochs=2, batch_size=64, lr=0.05), normalise=digits.normalise)
    return model.eval()


@pytest.fixture(scope="module")
def source(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx.export(model, torch.zeros(1, 1, 8, 8), tmp_path_factory.mktemp("float") / "model.onnx").path


@pytest.fixture(scope="module", params=[False, True], ids=["batch of 7", "any batch"])
def batched(
    request: pytest.FixtureRequest, model: nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A file for a batch of seven, or of any length."""
    return onnx.export(
        model,
        torch.zeros(7, 1, 8, 8),
        tmp_path_factory.mktemp("batched") / "a.onnx",
        dynamic_batch=request.param,
    ).path


@pytest.fixture
def calibration(digits: ImageData) -> Calibration:
    return Calibration(digits.train, digits.normalise, samples=64)


def outputs(path: Path, inputs: Tensor) -> Tensor:
    run = onnx_file.runner(path)
    return torch.cat([torch.as_tensor(run(one[None])[0]) for one in inputs])


def inputs_of(digits: ImageData) -> Tensor:
    return next(iter(Calibration(digits.test, digits.normalise, samples=100)))[:100]


def weights(path: Path) -> dict[str, Any]:
    entries = onnx_format.load(str(path)).graph.initializer
    return {entry.name: onnx_format.numpy_helper.to_array(entry) for entry in entries}


def test_the_quantised_file_is_close_and_small(
    digits: ImageData,
    source: Path,
    calibration: Calibration,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "new" / "model.int8.onnx"
    check = int8.quantise(source, target, calibration)
    assert capfd.readouterr() == ("", "")  # the quantiser's chatter stays inside
    assert [one.name for one in target.parent.iterdir()] == [target.name]
    assert check.path == target and check.bytes == target.stat().st_size and check.weight_bytes < check.bytes
    assert check.quantised == int8.layers(source) == LAYERS and check.kept_float == ()
    assert check.weight_bytes < 0.4 * sum(array.nbytes for array in weights(source).values())
    inputs = inputs_of(digits)
    expected, found = outputs(source, inputs), outputs(target, inputs)
    assert float((found - expected).norm() / expected.norm()) < 0.05
    assert 0 < check.noise < 0.05
    assert float((found.argmax(1) == expected.argmax(1)).double().mean()) > 0.97


def test_all_in_float_computes_what_the_float_file_computes(
    digits: ImageData, source: Path, calibration: Calibration, tmp_path: Path
) -> None:
    check = int8.quantise(source, tmp_path / "a.onnx", calibration, ["*"])
    assert check.quantised == () and check.kept_float == LAYERS and check.noise == 0
    inputs = inputs_of(digits)
    assert torch.equal(outputs(source, inputs), outputs(tmp_path / "a.onnx", inputs))


@pytest.mark.parametrize("kept", LAYERS)
def test_kept_layers_stay_in_float(source: Path, calibration: Calibration, tmp_path: Path, kept: str) -> None:
    check = int8.quantise(source, tmp_path / "a.onnx", calibration, [f"{kept[:4]}*"])
    assert check.kept_float == (kept,) and set(check.quantised) == set(LAYERS) - {kept}
    model, before = onnx_format.load(str(tmp_path / "a.onnx")), weights(source)
    held = weights(tmp_path / "a.onnx")
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            in_float = node.input[1] in held
            assert in_float == (node.input[1] == f"{kept}.weight")
            if in_float:
                assert np.array_equal(held[node.input[1]], before[node.input[1]])


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_are_rounded_per_channel(
    source: Path, calibration: Calibration, tmp_path: Path, bits: int
) -> None:
    int8.quantise(source, tmp_path / "a.onnx", calibration, weight_bits=bits)
    before, after = weights(source), weights(tmp_path / "a.onnx")
    highest = {7: 64, 8: 127}[bits]
    for name in ("first", "second"):
        stored, scales = after[f"{name}.weight_quantized"], after[f"{name}.weight_scale"]
        assert stored.dtype == np.int8 and int(np.abs(stored.astype(int)).max()) <= highest
        for channel, filter_ in enumerate(before[f"{name}.weight"]):
            scale = float(np.abs(filter_).max()) / highest
            assert float(scales[channel]) == pytest.approx(scale, rel=1e-5)
            assert np.abs(stored[channel] * scales[channel] - filter_).max() <= 0.501 * scale
            for slot in np.ndindex(filter_.shape):
                assert abs(int(stored[channel][slot]) - float(filter_[slot]) / scale) <= 0.501


def test_the_file_is_valid_and_says_nothing_of_where_it_was_made(
    source: Path, calibration: Calibration, tmp_path: Path
) -> None:
    int8.quantise(source, tmp_path / "a.onnx", calibration)
    assert b"stack_trace" not in (tmp_path / "a.onnx").read_bytes()
    before, after = onnx_format.load(str(source)), onnx_format.load(str(tmp_path / "a.onnx"))
    # but all that it was told to say
    assert all(entry in after.metadata_props for entry in before.metadata_props)
    onnx_format.checker.check_model(str(tmp_path / "a.onnx"), full_check=True)


def test_files_with_a_batch(digits: ImageData, model: nn.Module, batched: Path, tmp_path: Path) -> None:
    some = digits.test.subset(torch.arange(50))  # no multiple of the file's batch
    assert torch.equal(
        told_right(batched, some, digits.normalise), sample_by_sample(model, some, digits.normalise)[0]
    )
    check = int8.quantise(
        batched, tmp_path / "a.onnx", Calibration(digits.train, digits.normalise, samples=64, batch_size=24)
    )
    assert check.quantised == LAYERS and told_right(check.path, some, digits.normalise).shape == (50,)


class Judge:
    """Points that fall with every layer in 8 bits that must not be, and a record of what was asked."""

    def __init__(self, fragile: set[str], source: Path) -> None:
        self.fragile, self.source, self.asked = fragile, source, 0

    def __call__(self, path: Path) -> Tensor:
        self.asked += 1
        names = (
            set()
            if path == self.source
            else {
                name.removesuffix(".weight_quantized")
                for name in weights(path)
                if name.endswith("_quantized")
            }
        )
        points = torch.full((400,), 100.0)
        points[: 40 * len(self.fragile & names)] = 0.0
        return points


def test_a_tolerance_that_is_kept_at_once(
    digits: ImageData, source: Path, calibration: Calibration, tmp_path: Path
) -> None:
    def points(path: Path) -> Tensor:
        return 100.0 * told_right(path, digits.test, digits.normalise).double()

    found = int8.quantise_within(source, tmp_path / "a.onnx", calibration, points, 2.0, 0.9)
    assert [trial.accepted for trial in found.trials] == [True] and found.sensitivities == ()
    assert found.check.quantised == LAYERS
    lost = points(source) - points(tmp_path / "a.onnx")
    assert found.baseline - found.trials[0].metric == pytest.approx(float(lost.mean()))
    assert float(lost.mean()) <= found.baseline - found.trials[0].lowest <= 2.0


@pytest.mark.parametrize("place", [0, 1])
def test_fragile_layers_stay_in_float(
    source: Path, calibration: Calibration, tmp_path: Path, place: int
) -> None:
    order = int8.quantise_within(
        source, tmp_path / "a.onnx", calibration, Judge({"first"}, source), 1.0
    ).sensitivities
    fragile = order[place].layer
    found = int8.quantise_within(source, tmp_path / "b.onnx", calibration, Judge({fragile}, source), 1.0)
    assert [one.noise for one in order] == sorted((one.noise for one in order), reverse=True)
    assert set(found.check.kept_float) == {one.layer for one in order[: place + 1]}  # no more than had to
    for trial in found.trials:
        assert trial.accepted == (fragile in trial.kept_float) == (found.baseline - trial.lowest <= 1.0)


def test_sensitivity_is_the_noise_of_one_layer_alone(
    source: Path, calibration: Calibration, tmp_path: Path
) -> None:
    order = int8.quantise_within(
        source, tmp_path / "a.onnx", calibration, Judge({"first"}, source), 1.0
    ).sensitivities
    alone = {one.layer: one.noise for one in order}
    inputs = torch.cat(list(calibration))
    # the linear layer is the last, and nothing is behind it
    check = int8.quantise(source, tmp_path / "b.onnx", calibration, ["first", "second"])
    expected, found = outputs(source, inputs).double(), outputs(tmp_path / "b.onnx", inputs).double()
    slow = float(((found - expected) ** 2).sum() ** 0.5 / (expected**2).sum() ** 0.5)
    assert check.noise == pytest.approx(slow, rel=1e-6)
    assert alone["last"] == pytest.approx(slow, rel=0.5) and set(alone) == set(LAYERS)


def test_a_file_in_float_is_never_called_one_in_8_bits(
    source: Path, calibration: Calibration, tmp_path: Path
) -> None:
    judge = Judge(set(LAYERS), source)
    with pytest.raises(
        TargetError,
        match=(
            "No layer can compute in 8 bits and lose at most 1 points on 400 held-out samples with 95 %"
            " confidence"
        ),
    ):
        int8.quantise_within(source, tmp_path / "a.onnx", calibration, judge, 1.0)
    assert judge.asked <= 4 and not list(tmp_path.iterdir())
    with pytest.raises(
        TargetError,
        match=(
            r"on 400 held-out samples, even if all agree: that takes 598 that agree, or a tolerance of 0\.8"
            r" points"
        ),
    ):
        int8.quantise_within(source, tmp_path / "a.onnx", calibration, Judge(set(), source), 0.5)
    assert not list(tmp_path.iterdir())


def nothing() -> Iterator[Tensor]:
    return iter(())


def test_what_cannot_be_quantised_leaves_nothing_behind(
    source: Path, calibration: Calibration, tmp_path: Path
) -> None:
    target, broken = tmp_path / "out" / "a.onnx", tmp_path / "broken.onnx"
    broken.write_bytes(source.read_bytes()[:1000])
    target.parent.mkdir()
    target.write_bytes(b"an earlier file")
    wide = [torch.zeros(4, 1, 9, 9)]
    for kind, said, arguments in (
        (FileFormatError, "broken.onnx is not an ONNX file", (broken, target, calibration)),
        (FileFormatError, "There is no ONNX file", (tmp_path / "none.onnx", target, calibration)),
        (DataError, "there are no calibration inputs", (source, target, nothing())),
        (PrunusError, "model.onnx cannot be quantised", (source, target, wide)),
        (
            ConfigError,
            "'third' matches no layer of model.onnx; its layers are first, second, last",
            (source, target, calibration, ["third"]),
        ),
    ):
        with pytest.raises(kind, match=said) as caught:
            int8.quantise(*arguments)
        assert "\n" not in str(caught.value)
        assert [one.name for one in target.parent.iterdir()] == [
            "a.onnx"
        ] and target.read_bytes() == b"an earlier file"
    with pytest.raises(ConfigError, match="8 bits, or 7"):
        int8.quantise(source, target, calibration, weight_bits=4)
    with pytest.raises(TargetError, match="tolerance"):
        int8.quantise_within(source, target, calibration, Judge(set(), source), -1.0)
    int8.quantise(source, target, calibration)
    with pytest.raises(ConfigError, match="quantised already"):
        int8.quantise(target, target, calibration)


def test_a_judge_that_fails_leaves_nothing_behind(
    source: Path, calibration: Calibration, tmp_path: Path
) -> None:
    def fails(path: Path) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        int8.quantise_within(source, tmp_path / "a.onnx", calibration, fails, 1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(
    source: Path, calibration: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        MissingExtraError, match=r"Quantisation needs onnxruntime; .* pip install 'prunus\[onnx\]'"
    ):
        int8.quantise(source, tmp_path / "a.onnx", calibration)


@pytest.mark.parametrize(
    ("machine", "flags", "bits"),
    [
        ("x86_64", ["avx2"], 7),
        ("x86_64", ["avx2", "avx512f"], 7),
        ("x86_64", ["avx512f", "avx512_vnni"], 8),
        ("x86_64", ["avx_vnni"], 8),
        ("AMD64", [], 7),
        ("aarch64", ["asimd"], 8),
    ],
)
def test_seven_bits_where_eight_saturate(
    monkeypatch: pytest.MonkeyPatch, machine: str, flags: list[str], bits: int
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(qdq, "processor", lambda: ("", flags))
    assert qdq.weight_bits() == bits


class Padded(nn.Module):
    """A padding of channels between convolutions, by zeros or another value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.first, self.last, self.value = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(10, 4, 3), value

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)[:, :, ::2, ::2]
        return self.last(nn.functional.pad(x, (0, 0, 0, 0, 1, 3), value=self.value))


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_zeros_are_padded_in_8_bits(
    digits: ImageData, calibration: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    torch.manual_seed(0)
    source = onnx.export(Padded(value), torch.zeros(1, 1, 8, 8), tmp_path / "model.onnx").path
    int8.quantise(source, tmp_path / "int8.onnx", calibration)
    graph = onnx_format.load(tmp_path / "int8.onnx").graph
    (pad,) = (node for node in graph.node if node.op_type == "Pad")
    before = next(node for node in graph.node if pad.input[0] in node.output)
    assert before.op_type == ("DequantizeLinear" if value else "QuantizeLinear")
    onnx_format.checker.check_model(str(tmp_path / "int8.onnx"), full_check=True)
    monkeypatch.setattr(qdq, "_pad_in_8_bits", lambda model: model)
    int8.quantise(source, tmp_path / "as it was.onnx", calibration)
    inputs = inputs_of(digits)
    assert torch.equal(outputs(tmp_path / "int8.onnx", inputs), outputs(tmp_path / "as it was.onnx", inputs))
