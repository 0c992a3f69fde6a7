"""From a recipe to what it says: data, settings, and what epochs train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from prunus import data
from prunus.errors import ConfigError
from prunus.runs.recipe import Recipe, resolve
from prunus.runs.recipe_parts import config, curriculum, data_in
from prunus.selection import Scheduled
from prunus.tasks import Task

DIGITS = data.load("digits")
TASK = Task(DIGITS.train.subset(torch.arange(200)), normalise=DIGITS.normalise)


def recipe(**values: Any) -> Recipe:
    return resolve({"data": "digits", "model": "lenet5", "epochs": 4} | values, "the test")


def test_data_are_wanted_as_the_recipe_says() -> None:
    said = recipe(data_dir="sets", limit=30, seed=5, batch_size=16, workers=2, validation=0.2, mean="0.5")
    wanted = data_in(said, sized=True)
    assert (wanted.name, wanted.root, wanted.limit, wanted.seed) == ("digits", Path("sets"), 30, 5)
    assert (wanted.batch_size, wanted.workers, wanted.share, wanted.mean) == (16, 2, 0.2, "0.5")
    plain = data_in(recipe(), sized=False)
    assert plain.batch_size is None and plain.limit is None and plain.root is None


def test_settings_of_the_training_are_those_of_the_recipe() -> None:
    found = config(recipe(lr=0.3, optimizer="adamw", clip=2.0), DIGITS)
    assert (found.epochs, found.lr, found.optimizer, found.clip) == (4, 0.3, "adamw", 2.0)
    assert found.augment == "none" == config(recipe(), None).augment  # digits are as small as they are
    assert config(recipe(augment="crop"), None).augment == "crop"


BY_LOSSES = ("lower-bound", "easy-dropped", "importance", "sliding-window", "proxy")  # or of a proxy
BY_POINTS = ("critical", "critical-softer", "fixed-ratio", "mean-division", "area")


@pytest.mark.parametrize("select", ["random", *BY_LOSSES, *BY_POINTS])
def test_every_rule_is_a_curriculum_with_the_recipes_warm_up(select: str, tmp_path: Path) -> None:
    said = recipe(select=select, warmup_epochs=2, subset_size=20)
    found = curriculum(said, TASK, tmp_path)
    assert isinstance(found, Scheduled)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    assert found.choose(model, 1, 4) is None and not list(tmp_path.iterdir())
    if select not in (*BY_LOSSES, "critical-softer"):  # for which something must be learned first
        chosen = found.choose(model, 2, 4)
        assert chosen is not None and 0 < chosen.kept.sum() < 200
        assert [path.name for path in tmp_path.iterdir()] == ["epoch-0003.npy"]


def test_what_leaves_nothing_to_choose_is_told(tmp_path: Path) -> None:
    assert curriculum(recipe(), TASK, tmp_path) is None
    with pytest.raises(ConfigError, match="warmup_epochs = 4 leaves none of 4 epochs"):
        curriculum(recipe(select="random", warmup_epochs=4), TASK, tmp_path)
    with pytest.raises(ConfigError, match="drop is a part of the samples between 0 and 1, not 1"):
        curriculum(recipe(select="random", drop=1.0), TASK, tmp_path)
