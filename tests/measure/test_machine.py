"""This machine as a clock: networks in turns, in as many rounds as they are slow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from prunus.errors import ConfigError
from prunus.measure import machine
from prunus.measure.machine import FEWEST_ROUNDS, MOST_ROUNDS, TIMED_S, Here
from prunus.measure.timing import Latency


def test_the_dense_network_and_others_are_timed_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def time_models(networks: Mapping[str, Any], inputs: Any, **settings: Any) -> dict[str, Latency]:
        asked.append({"networks": list(networks.values()), **settings})
        return {
            name: Latency(value, value, value, 1, (value,)) for name, value in zip(networks, (200.0, 50.0))
        }

    monkeypatch.setattr(machine, "time_models", time_models)
    dense, small, inputs = nn.Linear(4, 4), nn.Linear(4, 2), torch.zeros(1, 4)
    with Here("torch", 2, tmp_path).stopwatch(dense, inputs) as timed:
        assert timed(small) == [200.0, 50.0] and timed() == [200.0]
    assert asked[0]["networks"] == [dense, small] and asked[1]["networks"] == [dense]
    assert all(one["runtime"] == "torch" and one["threads"] == 2 for one in asked)
    # slow networks are timed in few rounds, once it is known how slow they are
    assert [one["repeats"] for one in asked] == [MOST_ROUNDS, round(1e3 * TIMED_S / 200)]


@pytest.mark.parametrize(("ms", "rounds"), [(0.01, MOST_ROUNDS), (1e5, FEWEST_ROUNDS), (100.0, 30)])
def test_rounds_take_about_as_long_whatever_the_network(ms: float, rounds: int) -> None:
    assert machine._rounds(Latency(ms, ms, ms, 1, (ms,))) == rounds


def test_an_unknown_runtime_is_told() -> None:
    with pytest.raises(ConfigError):
        Here("abacus")
