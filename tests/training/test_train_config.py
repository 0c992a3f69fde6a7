from __future__ import annotations

import math
from typing import Any

import pytest

from prunus.errors import ConfigError
from prunus.training import TrainConfig
from prunus.training.config import rate_factor


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("label_smoothing", 1.0),
        ("warmup_steps", -1),
        ("milestones", (0.75, 0.5)),
        ("milestones", (0.5, 1.0)),
        ("optimizer", "lamb"),
        ("schedule", "linear"),
        ("precision", "float16"),
        ("augment", "flip"),
    ],
)
def test_every_setting_is_checked(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{field} must be .* not "):
        TrainConfig(**{field: value})


def test_cosine_falls_from_one_towards_zero() -> None:
    config = TrainConfig(schedule="cosine")
    factors = [rate_factor(config, step, 10) for step in range(10)]
    assert factors == pytest.approx([(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)])
    assert factors == sorted(factors, reverse=True)


def test_step_falls_tenfold_at_every_milestone() -> None:
    config = TrainConfig(schedule="step", milestones=(0.5, 0.75))
    assert [rate_factor(config, step, 8) for step in range(8)] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_warm_up_rises_linearly_to_the_peak(schedule: Any) -> None:
    config = TrainConfig(schedule=schedule, warmup_steps=4)
    assert [rate_factor(config, step, 100) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_a_warm_up_longer_than_the_training_is_no_error() -> None:
    assert rate_factor(TrainConfig(warmup_steps=50), 9, 10) == pytest.approx(0.2)
