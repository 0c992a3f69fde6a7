"""Latency, measured from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runs import halves

from prunus import runs
from prunus.errors import ConfigError
from prunus.runs.timing import LatencySettings

SMALL = runs.Network("lenet5", input_shape=(2, 1, 8, 8))


def test_networks_are_timed_together(tmp_path: Path) -> None:
    settings = LatencySettings(("torch",), batch=(1, 2), repeats=2)  # type: ignore[arg-type]
    assert settings.runtime == (runs.Served.TORCH,)
    found = runs.latency([SMALL, SMALL], settings, output=tmp_path / "latency.json")
    assert (tmp_path / "latency.json").is_file()
    assert [(row["batch"], row["model"]) for row in found["latency"]] == [
        (1, "lenet5"),
        (1, "lenet5 (2)"),
        (2, "lenet5"),
        (2, "lenet5 (2)"),
    ]
    assert all(row["repeats"] <= 2 and row["median_ms"] > 0 for row in found["latency"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"runtime": ("tensorrt",)}, "runtime must be of torch, .*, not 'tensorrt'"),
        ({"batch": (0,)}, "batch must be from 1"),
        ({"repeats": 0}, "repeats must be from 1"),
    ],
)
def test_settings_are_checked_when_they_are_made(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        LatencySettings(**settings)  # type: ignore[arg-type]


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(ConfigError, match="lenet5 takes 2×1×8×8 and resnet20 takes 1×3×32×32"):
        runs.latency([SMALL, "resnet20"], LatencySettings(("torch",)))  # type: ignore[arg-type]


def test_networks_in_half_precision_are_timed_on_inputs_of_their_own_type() -> None:
    half = runs.Network(halves.NAME, input_shape=(2, 1, 8, 8))
    settings = LatencySettings(("torch",), repeats=2)  # type: ignore[arg-type]
    for data in (None, "digits"):
        assert runs.latency([half], settings, data=data)["latency"][0]["median_ms"] > 0
    with pytest.raises(ConfigError, match=f"lenet5 has float32 weights and {halves.NAME} has float16"):
        runs.latency([SMALL, half], settings)
