"""Named runtimes: the same network in each, in turns on a clock that the test turns, and what is said where
one cannot be used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from prunus.deploy import onnx
from prunus.errors import ConfigError, MissingExtraError, PrunusError
from prunus.measure import runtimes
from prunus.measure.runtimes import Runtime, require, running, time_models

exports = pytest.mark.skipif(
    find_spec("onnxruntime") is None or find_spec("onnxscript") is None,
    reason="the extra onnx is not installed",
)


class Counted(nn.Module):
    """A network that tells when it is called, and moves the clock."""

    def __init__(self, log: list[str], name: str, seconds: float, clock: list[float]) -> None:
        super().__init__()
        self.log, self.name, self.seconds, self.clock = log, name, seconds, clock

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.log.append(self.name)
        self.clock[0] += self.seconds
        return x


def small(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * width, 2))


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile traces as always, but generates no code, which would take a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setenv("CXX", sys.executable)  # any program that is there
    yield
    torch.compiler.reset()


def test_eager_networks_take_turns() -> None:
    log, clock = list[str](), [0.0]
    models = {"a": Counted(log, "a", 0.01, clock), "b": Counted(log, "b", 0.02, clock)}
    times = time_models(models, torch.zeros(1), repeats=3, warm_up=1, clock=lambda: clock[0])
    assert "".join(log) == "ab" + "ab" + "ab" + "ba" + "ab"  # looked at, warmed up, and timed
    assert list(times) == ["a", "b"]
    assert [one.median_ms for one in times.values()] == pytest.approx([10.0, 20.0])


@pytest.mark.usefixtures("quick_compiler")
def test_every_compiled_network_is_compiled_for_itself() -> None:
    """More networks of different widths than the compiler keeps versions of one function (eight)."""
    ran: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        def compiled(*args: torch.Tensor) -> Any:
            ran.append(1)
            return graph.forward(*args)

        return compiled

    models = {str(width): small(width) for width in range(1, 11)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend=backend))
        with running(models, torch.randn(1, 2, 4, 4), runtime="torch-compile") as runs:
            ran.clear()
            for run in runs.values():
                run()
    assert len(ran) == 10


@pytest.mark.usefixtures("quick_compiler")
def test_compiled_networks_are_put_back() -> None:
    model = small().train()
    times = time_models({"a": model}, torch.randn(1, 2, 4, 4), runtime="torch-compile", repeats=1, warm_up=1)
    assert times["a"].repeats == 1 and model.training


@pytest.mark.usefixtures("quick_compiler")
def test_what_cannot_be_compiled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: object, inputs: object) -> object:
        raise RuntimeError("no such instruction\nand pages of advice")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(PrunusError, match=r"torch\.compile cannot run small: .*no such instruction"):
        time_models({"small": small()}, torch.randn(1, 2, 4, 4), runtime="torch-compile")


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "COMPILERS", ())
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler"):
        require("torch-compile")


def test_an_unknown_runtime() -> None:
    with pytest.raises(ConfigError, match="no runtime 'tensorrt'"):
        require(cast(Runtime, "tensorrt"))


def test_openvino_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'prunus\[openvino\]'"):
        time_models({"a": small()}, torch.randn(1, 2, 4, 4), runtime="openvino")


def test_pytorch_runs_no_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.onnx is an ONNX file, which torch cannot run"):
        time_models({"a": tmp_path / "a.onnx"}, torch.zeros(1))


@exports
def test_networks_and_files_in_onnx_runtime(tmp_path: Path) -> None:
    model, x = small(), torch.randn(1, 2, 4, 4)
    file = onnx.export(model, x, tmp_path / "a.onnx").path
    log = list[int]()

    def clock() -> float:
        log.append(1)
        return 0.01 * len(log)

    times = time_models(
        {"model": model, "file": file}, x, runtime="onnxruntime", repeats=2, warm_up=1, clock=clock
    )
    assert list(times) == ["model", "file"] and times["file"].repeats == 2
    assert times["model"].median_ms == pytest.approx(10.0)


class Asked(ModuleType):
    """What prunus asks of OpenVINO."""

    def __init__(self) -> None:
        super().__init__("openvino")
        self.settings: dict[str, Any] = {}
        self.fed: dict[str, Any] = {}
        self.telemetry = True

    def Core(self) -> Any:  # noqa: N802
        self.telemetry = sys.modules.get("openvino_telemetry", "there") is not None
        return self

    def compile_model(self, path: str, device: str, settings: dict[str, Any]) -> Any:
        assert Path(path).is_file() and device == "CPU"
        self.settings = settings
        self.inputs = [type("Port", (), {"any_name": "x"})]
        return self

    def create_infer_request(self) -> Any:
        return self

    def infer(self, inputs: dict[str, Any], share_inputs: bool) -> None:
        self.fed = inputs


@exports
def test_what_openvino_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, x = Asked(), torch.randn(1, 2, 4, 4)
    monkeypatch.setitem(sys.modules, "openvino", asked)
    monkeypatch.setattr(runtimes, "find_spec", lambda name: object())
    with running({"a": small()}, x, runtime="openvino", threads=3) as runs:
        runs["a"]()
    assert (
        asked.settings["INFERENCE_NUM_THREADS"] == 3 and asked.settings["INFERENCE_PRECISION_HINT"] == "f32"
    )
    assert np.array_equal(asked.fed["x"], x.numpy())
    assert sys.modules.get("openvino_telemetry", "untouched") is not None


@exports
@pytest.mark.skipif(find_spec("openvino") is None, reason="the extra openvino is not installed")
def test_openvino_itself() -> None:
    times = time_models(
        {"a": small(), "b": small()}, torch.randn(3, 2, 4, 4), runtime="openvino", repeats=2, warm_up=1
    )
    assert times["b"].repeats == 2 and times["b"].median_ms > 0
    assert "openvino_telemetry" not in sys.modules
