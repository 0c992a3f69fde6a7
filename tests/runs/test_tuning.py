"""From flags to how is fine-tuned: the settings of `prunus train`, those that were given."""

from __future__ import annotations

import pytest
import torch

from prunus import data
from prunus.errors import ConfigError
from prunus.runs.data import Source, Wanted
from prunus.runs.tuning import tuning_of
from prunus.tasks import Task
from prunus.training import TrainConfig

IMAGES = Source(Wanted("digits"), data.load("digits"))
PAIRS = Source(Wanted("mine:task"), own=Task([(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))]))


def test_flags_that_were_given_are_settings_and_others_are_not() -> None:
    flags = {"lr": 0.5, "optimizer": None, "milestones": [0.25, 0.5], "output": "out", "clip": None}
    found = tuning_of(flags, 3, PAIRS)
    assert found == TrainConfig(epochs=3, lr=0.5, milestones=(0.25, 0.5), augment="none")


@pytest.mark.parametrize("source", [IMAGES, None])
def test_nothing_is_tuned_where_that_was_not_asked_for_or_cannot_be(source: Source | None) -> None:
    assert tuning_of({"lr": 0.5}, 0 if source else 3, source) is None


def test_images_are_augmented_as_usual_and_batches_are_not() -> None:
    found = tuning_of({"augment": "auto"}, 1, IMAGES)
    assert found is not None and found.augment == IMAGES.augment
    assert tuning_of({"augment": "none"}, 1, PAIRS) == TrainConfig(epochs=1, augment="none")
    with pytest.raises(
        ConfigError, match="--augment crop is of images with classes; mine:task comes as it is"
    ):
        tuning_of({"augment": "crop"}, 1, PAIRS)
