"""Steps are told as they begin, count and end, and their seconds are kept."""

from __future__ import annotations

import time

import pytest

from prunus._foundation.progress import Clock


def test_a_clock_tells_what_goes_on_and_how_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 12.5, 20.0, 21.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    told: list[tuple[str, int, int]] = []
    clock = Clock(lambda *words: told.append(words))
    assert clock.time("adding", lambda: 1 + 1) == 2
    with clock.steps("counting") as count:
        count(1, 3)
    assert told == [
        ("adding", 0, 0),
        ("adding", 1, 1),
        ("counting", 0, 0),
        ("counting", 1, 3),
        ("counting", 1, 1),
    ]
    assert clock.seconds == {"adding": 2.5, "counting": 1.0}


def test_a_step_that_fails_is_not_told_as_done() -> None:
    told: list[int] = []
    clock = Clock(lambda step, done, total: told.append(done))
    with pytest.raises(ZeroDivisionError):
        clock.time("dividing", lambda: 1 // 0)
    assert told == [0] and not clock.seconds
