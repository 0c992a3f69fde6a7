"""What is freed in a training stays with the process until it ends, whatever ends it."""

from __future__ import annotations

import pytest

from prunus._foundation import memory


def test_options_hold_until_the_last_training_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []

    def mallopt(name: int, value: int) -> int:
        told.append((name, value))
        return 1

    monkeypatch.setattr(memory, "_mallopt", lambda: mallopt)
    with memory.held_memory():
        with pytest.raises(ValueError, match="broke off"), memory.held_memory():
            raise ValueError("broke off")
        assert (memory._TRIM_THRESHOLD, memory._USUAL_TRIM) not in told
    assert told[-1] == (memory._TRIM_THRESHOLD, memory._USUAL_TRIM)
    assert told[:2] == [
        (memory._MMAP_THRESHOLD, memory._LARGEST_BLOCK),
        (memory._TRIM_THRESHOLD, memory._NO_TRIM),
    ]


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_mallopt", lambda: None)
    with memory.held_memory():
        assert not memory._holders


def test_the_numbers_are_those_that_this_library_takes() -> None:
    function = memory._mallopt()
    if function is None:
        pytest.skip("another C library")
    with memory.held_memory():
        assert function(memory._MMAP_THRESHOLD, memory._LARGEST_BLOCK) == 1
