"""From the settings of a job to how it fine-tunes."""

from __future__ import annotations

import pytest
import torch

from prunus import data
from prunus.errors import ConfigError
from prunus.runs.data import Data, Source
from prunus.runs.tuning import tuning_of
from prunus.tasks import Task
from prunus.training import TrainConfig

IMAGES = Source(Data("digits"), data.load("digits"))
PAIRS = Source(Data("mine:task"), own=Task([(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))]))
BASE = TrainConfig(lr=0.5, milestones=(0.25, 0.5))


def test_epochs_and_seed_are_those_of_the_job_and_all_else_is_as_it_was() -> None:
    found = tuning_of(BASE, 3, PAIRS, augment="auto", seed=5)
    assert found == TrainConfig(epochs=3, lr=0.5, milestones=(0.25, 0.5), augment="none", seed=5)


@pytest.mark.parametrize("source", [IMAGES, None])
def test_nothing_is_tuned_where_that_was_not_asked_for_or_cannot_be(source: Source | None) -> None:
    assert tuning_of(BASE, 0 if source else 3, source, augment="auto", seed=0) is None


def test_images_are_augmented_as_usual_and_batches_are_not() -> None:
    found = tuning_of(BASE, 1, IMAGES, augment="auto", seed=0)
    assert found is not None and found.augment == IMAGES.augment
    with pytest.raises(
        ConfigError, match="--augment crop is of images with classes; mine:task comes as it is"
    ):
        tuning_of(BASE, 1, PAIRS, augment="crop", seed=0)
