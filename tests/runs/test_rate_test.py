"""The learning rate for the training of a recipe."""

from __future__ import annotations

import pytest

from prunus.errors import ConfigError
from prunus.runs.rate_test import find_lr
from prunus.runs.recipe import resolve


def test_it_is_that_of_the_recipes_network_and_settings() -> None:
    said = {"data": "digits", "model": "lenet5", "limit": 300, "batch_size": 64}
    steps: list[str] = []
    found = find_lr(
        resolve(said, "A recipe"), command="typed", watch=lambda step, done, total: steps.append(step)
    )
    assert found["model"] == "lenet5" and found["command"] == "typed" and 0.01 < found["lr"] < 1
    assert "looking for the learning rate" in steps
    other = find_lr(resolve({**said, "optimizer": "adamw"}, "A recipe"))
    assert other["lr"] < found["lr"]


def test_without_held_out_samples_there_is_none() -> None:
    said = {"data": "digits", "model": "lenet5", "validation": 0.0}
    with pytest.raises(ConfigError, match="validation must be above 0"):
        find_lr(resolve(said, "A recipe"))
