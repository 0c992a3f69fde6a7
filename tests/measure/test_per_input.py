"""Latency input by input, with a clock that is told what time it is."""

from __future__ import annotations

import pytest

from prunus.errors import ConfigError
from prunus.measure.per_input import over_inputs


def test_every_input_has_its_own_median_and_models_take_turns() -> None:
    now, calls = [0.0], []

    def model(name: str, factor: float) -> object:
        def run(seconds: float) -> None:
            calls.append(name)
            late = 100.0 if len(calls) == 5 else 0.0  # one slow moment, which a median does not see
            now[0] += factor * seconds + late

        return run

    runs = {"one": model("one", 1.0), "two": model("two", 2.0)}
    found = over_inputs(runs, [0.001, 0.003, 0.002], repeats=3, warm_up=2, clock=lambda: now[0])  # type: ignore[arg-type]
    assert found["one"].tolist() == pytest.approx([1.0, 3.0, 2.0])
    assert found["two"].tolist() == pytest.approx([2.0, 6.0, 4.0])
    assert calls[4:12] == ["one", "two", "two", "one", "one", "two", "two", "one"]


@pytest.mark.parametrize("changes", [{"runs": {}}, {"inputs": []}, {"repeats": 0}, {"warm_up": 0}])
def test_there_must_be_something_to_measure(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="at least one model"):
        over_inputs(**({"runs": {"one": len}, "inputs": ["x"]} | changes))  # type: ignore[arg-type]
