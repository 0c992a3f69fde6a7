"""Curricula that remember the last loss of every sample: what they keep, also after a resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.breaks import StopError, stopping
from torch import nn

from prunus.data import load
from prunus.errors import ConfigError
from prunus.selection import (
    EasyDropped,
    ImportanceSampled,
    LowerBound,
    Scheduled,
    SlidingWindow,
    Subsets,
    critical,
)
from prunus.selection.loss_curricula import LastLosses
from prunus.training import TrainConfig, train

DIGITS = load("digits")
SPLIT = DIGITS.train.subset(torch.arange(0, 1442, 4))
COUNT = len(SPLIT)
NOBODY = nn.Identity()
MAKE: dict[str, Callable[[], Any]] = {
    "lower bound": lambda: LowerBound(COUNT),
    "easy dropped": lambda: EasyDropped(COUNT, 0.5),
    "importance": lambda: ImportanceSampled(COUNT, 0.5),
    "window": lambda: SlidingWindow(COUNT, groups=4),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def tell(curriculum: LastLosses, losses: list[float]) -> None:
    curriculum.observe(
        torch.arange(len(losses)), torch.tensor(losses), torch.ones(len(losses), dtype=torch.bool)
    )


def test_a_sample_that_went_comes_back_when_the_others_are_learned() -> None:
    curriculum = LowerBound(4)
    tell(curriculum, [0.1, 1.0, 2.0, 1.0])  # a fifth of the mean is 0.205
    first = curriculum.choose(NOBODY, 2, 9)
    assert first is not None and first.kept.tolist() == [False, True, True, True] and first.weights is None
    curriculum.observe(
        torch.tensor([3, 1, 2]), torch.tensor([0.3, 0.2, 0.4]), torch.ones(3, dtype=torch.bool)
    )
    second = curriculum.choose(NOBODY, 3, 9)  # now it is 0.05
    assert second is not None and second.kept.all()


def test_the_rule_sees_all_first_and_last_in_a_training() -> None:
    sizes: dict[int, int] = {}
    curriculum = Scheduled(
        LowerBound(COUNT),
        SPLIT.labels.numpy(),
        warmup=2,
        annealing=0.2,
        keep_record=lambda epoch, chosen: sizes.update({epoch: int(chosen.kept.sum())}),
    )
    config = TrainConfig(epochs=10, lr=0.1, batch_size=32)
    history = train(network(), SPLIT, config, normalise=DIGITS.normalise, curriculum=curriculum)
    samples = [epoch.samples for epoch in history.epochs]
    assert samples[:2] == samples[8:] == [COUNT] * 2
    assert samples[2:8] == list(sizes.values()) and max(samples[2:8]) < COUNT


def test_every_choice_of_the_window_is_another_turn() -> None:
    curriculum = SlidingWindow(40, thin=0.0, groups=4, width=0.5)
    tell(curriculum, [float(i // 10) for i in range(40)])
    found = [curriculum.choose(NOBODY, epoch, 9) for epoch in range(5)]
    groups = [{int(i) // 10 for i in one.indices} for one in found if one is not None]
    assert groups == [{0, 1, 2, 3}, {1, 2}, {2, 3}, {0, 1}, {1, 2}]


def test_numbers_out_of_range_are_refused_at_once() -> None:
    for wrong in (
        lambda: LowerBound(5, 2.0),
        lambda: ImportanceSampled(5, 0.0),
        lambda: SlidingWindow(5, thin=1.0),
        lambda: SlidingWindow(5, width=0.0),
        lambda: LowerBound(0),
    ):
        with pytest.raises(ConfigError):
            wrong()


def test_the_softer_reading_keeps_fine_points_from_the_lower_bound_up() -> None:
    one = np.arange(4)
    subsets = Subsets(np.arange(8), np.array([0, 2, 4, 6, 8]), np.array([0, 2, 4]), np.array([0, 1]))
    coarse, fine = [3.0, 1.0], np.array([9.0, 9.0, 0.5, 0.3])  # mean 2, lower bound 0.4
    assert (subsets.subset_of_fine == one // 2).all()
    strict = critical(coarse, subsets, lambda points: fine[points])
    softer = critical(coarse, subsets, lambda points: fine[points], softer=True)
    assert strict.kept.tolist() == [True] * 6 + [False] * 2 == softer.kept.tolist()
    fine = np.array([9.0, 9.0, 0.9, 0.5])
    assert critical(coarse, subsets, lambda points: fine[points]).kept.tolist() == [True] * 6 + [False] * 2
    assert critical(coarse, subsets, lambda points: fine[points], softer=True).kept.all()


@pytest.mark.parametrize("name", MAKE)
def test_a_resumed_training_makes_the_same_choices(name: str, tmp_path: Path) -> None:
    def once(stop: int, path: Path | None) -> tuple[nn.Module, Any]:
        model, curriculum = network(), MAKE[name]()
        kept: dict[str, Any] = {
            "checkpoint": path,
            "checkpoint_seconds": 0.0,
            "resume": True,
            "on_step": stopping(stop),
        }
        config = TrainConfig(epochs=4, lr=0.1, batch_size=64)
        train(model, SPLIT, config, normalise=DIGITS.normalise, curriculum=curriculum, **kept)
        return model, curriculum

    (model, whole), path = once(-1, None), tmp_path / "checkpoint"
    for stop in (4, 5, 3):
        with pytest.raises(StopError):
            once(stop, path)
    found, resumed = once(-1, path)
    np.testing.assert_array_equal(whole.losses, resumed.losses)
    for mine, theirs in zip(model.parameters(), found.parameters(), strict=True):
        assert torch.equal(mine, theirs)
