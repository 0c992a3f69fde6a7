"""Latency on a clock that the test turns: turns, warm-up, quartiles, and what is put back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from prunus.errors import ConfigError
from prunus.measure.timing import Latency, measure, speedup, take_turns


class Clock:
    """A clock that moves only when a run takes its time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def run(self, log: list[str], name: str, seconds: list[float]) -> Callable[[], None]:
        """A function that takes the given seconds, one after the other, then over again."""
        calls = 0

        def taken() -> None:
            nonlocal calls
            self.now += seconds[calls % len(seconds)]
            calls += 1
            log.append(name)

        return taken


def quantile(values: list[float], share: float) -> float:
    """Linear interpolation between the order statistics, the slow way."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def test_statistics_are_those_of_the_samples_after_the_warm_up() -> None:
    clock, log = Clock(), list[str]()
    slow = [9.0, 9.0, 0.05, 0.01, 0.03, 0.02, 0.08]
    runs = {"slow": clock.run(log, "slow", slow), "quick": clock.run(log, "quick", [0.004])}
    result = take_turns(runs, repeats=5, warm_up=2, clock=clock)
    expected = [1e3 * value for value in slow[2:]]
    assert result["slow"].median_ms == pytest.approx(quantile(expected, 0.5))
    assert result["slow"].q25_ms == pytest.approx(quantile(expected, 0.25))
    assert result["slow"].q75_ms == pytest.approx(quantile(expected, 0.75))
    assert result["slow"].repeats == 5
    assert result["quick"].median_ms == pytest.approx(4.0)


def test_models_take_turns_and_the_first_changes() -> None:
    clock, log = Clock(), list[str]()
    runs = {name: clock.run(log, name, [0.01]) for name in "ab"}
    take_turns(runs, repeats=4, warm_up=1, clock=clock)
    assert "".join(log) == "ab" + "ab" + "ba" + "ab" + "ba"


def test_quick_models_run_many_times_per_sample() -> None:
    clock, log = Clock(), list[str]()
    runs = {"a": clock.run(log, "a", [0.0001]), "b": clock.run(log, "b", [0.0003])}
    result = take_turns(runs, repeats=3, warm_up=1, clock=clock)
    # 0.1 ms fits twenty times into the shortest sample of 2 ms, and 0.3 ms not quite seven times.
    assert (log.count("a"), log.count("b")) == (1 + 3 * 20, 1 + 3 * 7)
    assert result["a"].median_ms == pytest.approx(0.1)
    assert result["b"].median_ms == pytest.approx(0.3)


def test_long_measurements_stop_early_but_not_too_early() -> None:
    clock, log = Clock(), list[str]()
    result = take_turns({"a": clock.run(log, "a", [1.0])}, repeats=100, warm_up=1, limit_s=30.5, clock=clock)
    assert result["a"].repeats == 31
    result = take_turns({"a": clock.run(log, "a", [1.0])}, repeats=100, warm_up=1, limit_s=5, clock=clock)
    assert result["a"].repeats == 20


def latency(samples: list[float]) -> Latency:
    return Latency(
        quantile(samples, 0.5), quantile(samples, 0.25), quantile(samples, 0.75), len(samples), tuple(samples)
    )


def coin_tosses_as_uneven(wins: int, rounds: int) -> float:
    """Share of all rows of coin tosses that are at least as far from half and half."""
    rows = itertools.product((0, 1), repeat=rounds)
    far = abs(wins - rounds / 2)
    return sum(abs(sum(row) - rounds / 2) >= far for row in rows) / 2**rounds


@pytest.mark.parametrize(
    ("wins", "rounds"), [(12, 12), (11, 12), (10, 12), (6, 12), (2, 12), (1, 12), (0, 12), (7, 13)]
)
def test_speedup_is_the_median_of_the_rounds_and_a_sign_test(wins: int, rounds: int) -> None:
    before = [3.0 + index for index in range(rounds)]
    after = [value / 2 if index < wins else value * 1.5 for index, value in enumerate(before)]
    found = speedup(latency(before), latency(after))
    assert found.factor == pytest.approx(quantile([a / b for a, b in zip(before, after)], 0.5))
    assert found.wins == wins / rounds
    assert found.certain == (coin_tosses_as_uneven(wins, rounds) < 0.01)


def test_a_busy_machine_hides_no_speedup() -> None:
    """Half of the rounds take three times as long, for both: the quartiles overlap, the rounds do not lie."""
    slow = [3.0 if index % 2 else 1.0 for index in range(40)]
    before, after = latency([2.0 * factor for factor in slow]), latency([1.6 * factor for factor in slow])
    assert after.q75_ms > before.q25_ms
    assert speedup(before, after).certain and speedup(before, after).factor == pytest.approx(1.25)
    same = speedup(before, before)
    assert (same.factor, same.wins, same.certain) == (1.0, 0.0, False)


@pytest.mark.parametrize(("wins", "certain"), [(1500, False), (1600, True), (3000, True), (1400, True)])
def test_thousands_of_rounds_are_judged(wins: int, certain: bool) -> None:
    times = [1.0 if index < wins else 3.0 for index in range(3000)]
    assert speedup(latency([2.0] * 3000), latency(times)).certain == certain


def test_speedup_needs_the_same_rounds() -> None:
    with pytest.raises(ConfigError, match="same rounds"):
        speedup(latency([1.0, 2.0]), latency([1.0]))


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ConfigError, match="at least one model"):
        take_turns({}, repeats=3, warm_up=1)
    with pytest.raises(ConfigError, match="one repeat"):
        take_turns({"a": lambda: None}, repeats=0, warm_up=1)


def test_threads_modes_and_gradients_are_put_back() -> None:
    seen: list[tuple[int, bool, bool]] = []

    class Looking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((torch.get_num_threads(), self.training, torch.is_grad_enabled()))
            return x

    model = nn.Sequential(Looking(), nn.Dropout()).train()
    model[1].eval()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        result = measure({"a": model}, torch.zeros(1, 3), repeats=2, threads=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {(1, False, False)}
    assert model.training and model[0].training and not model[1].training
    assert result["a"].q25_ms <= result["a"].median_ms <= result["a"].q75_ms


def test_keyword_inputs() -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a - b

    assert measure({"a": Two()}, {"b": torch.ones(2), "a": torch.zeros(2)}, repeats=1)["a"].repeats == 1
