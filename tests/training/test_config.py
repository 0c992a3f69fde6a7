from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from prunus.errors import ConfigError
from prunus.training import TrainConfig
from prunus.training.config import batch_of, rate_factor


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
        ("shift", -1),
        ("flips", "never"),
        ("first_batch", 0.0),
        ("average", 1.0),
    ],
)
def test_every_setting_is_checked(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{field} must be .* not "):
        TrainConfig(**{field: value})


def test_two_averages_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="average must be 0 where ema averages already"):
        TrainConfig(ema=0.9, average=0.2)


def test_batches_grow_by_the_same_factor_to_the_whole() -> None:
    config = TrainConfig(epochs=3, batch_size=64, first_batch=0.25)
    assert [batch_of(config, epoch) for epoch in range(3)] == [16, 32, 64]
    assert batch_of(TrainConfig(epochs=1, batch_size=5, first_batch=0.5), 0) == 2
    assert {batch_of(TrainConfig(epochs=9), epoch) for epoch in range(9)} == {128}


def test_cosine_falls_from_one_towards_zero() -> None:
    config = TrainConfig(schedule="cosine")
    factors = [rate_factor(config, step, 10) for step in range(10)]
    assert factors == pytest.approx([(1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)])
    assert factors == sorted(factors, reverse=True)


def test_step_falls_tenfold_at_every_milestone() -> None:
    config = TrainConfig(schedule="step", milestones=(0.5, 0.75))
    assert [rate_factor(config, step, 8) for step in range(8)] == pytest.approx(
        [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]
    )


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_warm_up_rises_linearly_to_the_peak(schedule: Any) -> None:
    config = TrainConfig(schedule=schedule, warmup_steps=4)
    assert [rate_factor(config, step, 100) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_a_warm_up_longer_than_the_training_is_no_error() -> None:
    assert rate_factor(TrainConfig(warmup_steps=50), 9, 10) == pytest.approx(0.2)


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "onecycle"])
def test_rewinding_replays_the_end_of_a_longer_training(schedule: Any) -> None:
    longer = TrainConfig(epochs=30, schedule=schedule, warmup_steps=7)
    last = TrainConfig(epochs=5, rewind=30, schedule=schedule, warmup_steps=7)
    replayed = [rate_factor(last, step, 50) for step in range(50)]
    assert replayed == pytest.approx([rate_factor(longer, step, 300) for step in range(250, 300)])


def test_no_more_is_rewound_than_there_was() -> None:
    with pytest.raises(
        ConfigError, match="rewind must be 0 or at least the 5 epochs of this training, not 4"
    ):
        TrainConfig(epochs=5, rewind=4)


def test_one_cycle_rises_to_the_peak_and_falls_to_nearly_nothing() -> None:
    config = TrainConfig(schedule="onecycle")
    factors = [rate_factor(config, step, 101) for step in range(101)]
    assert (
        factors[0] == pytest.approx(1 / 25)
        and factors[30] == pytest.approx(1.0)
        and factors[100] == pytest.approx(4e-6)
    )
    assert factors[:31] == sorted(factors[:31]) and factors[30:] == sorted(factors[30:], reverse=True)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
def test_warm_up_joins_the_schedule_without_a_jump_and_never_passes_the_peak(schedule: Any) -> None:
    config = TrainConfig(schedule=schedule, warmup_steps=10)
    factors = [rate_factor(config, step / 4, 200) for step in range(800)]
    assert max(factors) <= 1 and max(abs(a - b) for a, b in pairwise(factors)) < 0.06
