"""What all methods share: one wish, and a checkpoint for every training."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunus.errors import ConfigError, TargetError
from prunus.methods.common import FIRST, Journal, Target, wish
from prunus.training import EpochRecord


def test_one_target_is_wished_for() -> None:
    assert wish({"rate": None, "macs": 0.5}) == ("macs", 0.5)
    assert wish({"rate": None}, ("rate", 0.3)) == ("rate", 0.3)
    assert wish({"rate": 0.1}, ("rate", 0.3)) == ("rate", 0.1)
    with pytest.raises(TargetError, match="one target of rate, macs, not none"):
        wish({"rate": None, "macs": None})
    with pytest.raises(TargetError, match="not rate and macs"):
        wish({"rate": 0.1, "macs": 0.5}, ("rate", 0.3))


def test_points_of_a_tolerance_are_a_number_also_from_text() -> None:
    assert Target("tolerance", "1.5").points == 1.5


def test_every_training_has_a_file_of_its_own_and_is_told_by_its_name() -> None:
    told: list[tuple[str, int]] = []
    journal = Journal(
        Path("runs/checkpoint.safetensors"), on_epoch=lambda name, r: told.append((name, r.epoch))
    )
    steps: list[tuple[str, int, int]] = []
    first = journal.options(FIRST, lambda *step: steps.append(step))
    later = journal.options("round 1, pulling", lambda *step: steps.append(step))
    assert first["checkpoint"] == Path("runs/checkpoint.safetensors")
    assert later["checkpoint"] == Path("runs/checkpoint-round-1-pulling.safetensors")
    later["on_epoch"](EpochRecord(3, 0.1, None, None, 0.1, 1.0))
    first["on_step"](1, 2)
    assert told == [("round 1, pulling", 3)] and steps == [(FIRST, 1, 2)]


def test_without_a_file_nothing_is_kept_or_told() -> None:
    options = Journal().options(FIRST, lambda *step: None)
    assert options["checkpoint"] is None and options["on_epoch"] is None and options["resume"] is False
    with pytest.raises(ConfigError, match="checkpoint_seconds"):
        Journal(checkpoint_seconds="soon")  # type: ignore[arg-type]
