"""Flags that change nothing are told of."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from prunus.errors import ConfigError
from prunus.runs.of_use import _OF_USE
from prunus.runs.recipe import KEYS, Recipe, resolve
from prunus.runs.train_pixels import check_kind_of

BASE: dict[str, Any] = {"data": "digits", "model": "lenet5"}


@pytest.mark.parametrize(
    ("given", "told", "besides"),
    [
        ({"tune_epochs": 3}, "tune-epochs = 3 changes nothing without a method", {"method": "slimming"}),
        ({"tune_lr": 0.5}, "tune-lr = 0.5 changes nothing", {"method": "slimming"}),
        ({"drop": 0.3}, "drop = 0.3 changes nothing without a rule of select", {"select": "random"}),
        ({"annealing": 0.1}, "annealing = 0.1 changes nothing", {"select": "random"}),
        ({"same_steps": True}, "same-steps = True changes nothing", {"select": "random"}),
        ({"subset_size": 7, "select": "random"}, ".*scores aggregated points", {"select": "critical"}),
        ({"milestones": [0.5]}, r"milestones = \[0.5\] changes nothing", {"schedule": "step"}),
        (
            {"momentum": 0.8, "optimizer": "adam"},
            ".*the optimizer sgd or muon",
            {"optimizer": "muon"},
        ),
        ({"shift": 2, "augment": "none"}, ".*an augmentation that crops", {"augment": "crop"}),
        ({"flips": "alternating", "augment": "crop"}, ".*that mirrors", {"augment": "crop-flip"}),
        ({"full_size_from": 0.5}, ".*a first_size below 1", {"first_size": 0.5}),
    ],
)
def test_a_flag_that_nothing_looks_at_is_told(
    given: dict[str, Any], told: str, besides: dict[str, Any]
) -> None:
    """It was passed over, and looked as if it had been of no use."""
    with pytest.raises(ConfigError, match=f"--{told}"):
        resolve(BASE | given, "the command", flags=list(given))
    resolve(BASE | given, "the recipe", flags=["data"])  # a file may be for several trainings
    found = resolve(BASE | given | besides, "the command", flags=[*given, *besides])
    assert resolve(found.values(), "again") == found  # as a resumed training reads it


def test_every_default_is_of_use_beside_everything() -> None:
    resolve(Recipe(**BASE).values(), "the recipe")
    assert set(_OF_USE) <= set(KEYS) <= {one.name for one in fields(Recipe)}
    lowest = resolve(BASE | {"select": "lower-bound"}, "the recipe")
    assert lowest.annealing == 0.2 and resolve(lowest.values(), "again") == lowest


def test_windows_are_of_pictures() -> None:
    with pytest.raises(ConfigError, match="window = 64 is of pictures with masks, and digits holds none"):
        check_kind_of(Recipe(**BASE, window=64))
