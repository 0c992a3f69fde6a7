"""What networks are timed on."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runs import several
from torch import Tensor, nn

import prunus
from prunus import runs
from prunus.deploy import onnx
from prunus.errors import ConfigError
from prunus.measure import runtimes
from prunus.measure.timing import Latency
from prunus.runs.timing import LatencySettings

SHAPES = [(1, 1, 5, 5, 5), (1, 4)]
TORCH = LatencySettings(("torch",), repeats=1)  # type: ignore[arg-type]
exports = pytest.mark.skipif(
    find_spec("onnxruntime") is None or find_spec("onnxscript") is None,
    reason="the extra onnx is not installed",
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Nothing is measured, and the inputs are kept."""
    kept: list[Any] = []

    def time_models(networks: Mapping[str, Any], inputs: Any, **_: Any) -> dict[str, Latency]:
        kept.append(inputs)
        return {name: Latency(1.0, 1.0, 1.0, 1, (1.0,)) for name in networks}

    monkeypatch.setattr(runtimes, "time_models", time_models)
    return kept


@pytest.fixture
def small(tmp_path: Path) -> runs.Network:
    """The file of a compact network of two inputs."""
    model, given = several.Scan().eval(), (torch.zeros(1, 1, 5, 5, 5), torch.zeros(1, 4))
    graph = prunus.trace(model, dict(zip(("volume", "side"), given)))
    compact = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    prunus.save(compact, tmp_path / "small.safetensors")
    return runs.Network(str(tmp_path / "small.safetensors"), build=several.NAME)


@pytest.mark.parametrize("data", [several.BY_NAME, several.BY_PLACE])
def test_the_inputs_of_a_task_are_taken_whole(small: runs.Network, data: str, asked: list[Any]) -> None:
    settings = LatencySettings(("torch",), batch=(1, 5), repeats=1)  # type: ignore[arg-type]
    found = runs.latency([several.NAME, small], settings, data)
    for size, inputs in zip((1, 5), asked):
        volume, side = inputs.values() if isinstance(inputs, dict) else inputs
        assert isinstance(inputs, dict) == (data == several.BY_NAME)
        assert len(volume) == len(side) == size and float(volume[0, 0, 0, 0, 1]) == 1.0
        assert size == 1 or torch.equal(volume[2], volume[0])
    row = found["latency"][-1]
    assert row["batch"] == 5
    assert row["input_shape"] == [5, 1, 5, 5, 5] and row["input_shapes"] == [[5, 1, 5, 5, 5], [5, 4]]


def test_without_data_a_plan_says_what_is_taken(small: runs.Network, asked: list[Any]) -> None:
    dense = runs.Network(several.NAME, input_shape=(1, 1, 5, 5, 5))
    for networks in ([small], [dense, small], [small, dense]):
        runs.latency(networks, TORCH)
        assert {name: tuple(one.shape) for name, one in asked[-1].items()} == dict(
            zip(("volume", "side"), SHAPES)
        )


def test_data_of_other_shapes_are_refused(small: runs.Network) -> None:
    with pytest.raises(ConfigError, match="are 1×5×5×5 and 2, and the models take 1×5×5×5 and 4: time them"):
        runs.latency([small], TORCH, several.OTHERS)
    with pytest.raises(ConfigError, match="takes 1×1×5×5×5 and 1×4 and lenet5 takes 1×1×28×28"):
        runs.latency([small, "lenet5"], TORCH)


@exports
def test_files_of_several_inputs_are_timed(tmp_path: Path, small: runs.Network, asked: list[Any]) -> None:
    inputs = (torch.zeros(2, 1, 5, 5, 5), torch.zeros(2, 4))
    file = str(onnx.export(several.Scan(), inputs, tmp_path / "scan.onnx").path)
    served = LatencySettings(("onnxruntime",), repeats=1)  # type: ignore[arg-type]
    found = runs.latency([file, small], served)
    assert [tuple(one.shape) for one in asked[-1].values()] == [(2, *shape[1:]) for shape in SHAPES]
    assert len(found["latency"]) == 2
    with pytest.raises(ConfigError, match="takes batches of 2 and no others"):
        runs.latency([file], LatencySettings(("onnxruntime",), batch=(1,)))  # type: ignore[arg-type]


class Words(nn.Module):
    """Numbers of words, as a network of texts takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.first, self.last = nn.Embedding(9, 8), nn.Conv1d(8, 8, 3), nn.Linear(8, 2)

    def forward(self, words: Tensor) -> Tensor:
        seen: Tensor = self.last(self.first(self.table(words).transpose(1, 2)).relu().mean(2))
        return seen


def words() -> nn.Module:
    """Random weights."""
    return Words()


@exports
def test_whole_numbers_are_made_up_as_such(tmp_path: Path) -> None:
    """They were noise, on which no table of words can be looked up."""
    model = Words().eval()
    graph = prunus.trace(model, torch.zeros(1, 7, dtype=torch.int64))
    compact = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    prunus.save(compact, tmp_path / "words.safetensors")
    network = runs.Network(str(tmp_path / "words.safetensors"), build=f"{__name__}:words")
    assert runs.profile(network)["cost"]["macs"] > 0
    file = runs.export(network, tmp_path / "words.onnx")["path"]
    found = runs.latency([file, network], LatencySettings(("onnxruntime",), repeats=1))  # type: ignore[arg-type]
    assert all(row["median_ms"] > 0 and row["input_shape"] == [1, 7] for row in found["latency"])


def test_a_number_may_come_before_the_volume(tmp_path: Path, asked: list[Any]) -> None:
    """Its shape, of one axis, was written down as that of the inputs, and the folder was never read again."""
    quick = runs.Delivery(onnx=False, report=False)
    found = runs.prune(
        several.BUILD_AGED, tmp_path / "out", runs.PruneSettings(rate=0.5), several.AGED, delivery=quick
    )
    assert found["model"]["input_shape"] == [1, 1, 5, 5, 5]
    small = runs.Network(str(tmp_path / "out"), build=several.BUILD_AGED)
    assert runs.profile(small)["cost"]["macs"] > 0
    for data in (several.AGED, None):
        dense = runs.Network(several.BUILD_AGED, input_shape=(1, 1, 5, 5, 5))
        runs.latency([dense, small], TORCH, data)
        assert [tuple(one.shape) for one in asked[-1].values()] == [(1,), (1, 1, 5, 5, 5)]
