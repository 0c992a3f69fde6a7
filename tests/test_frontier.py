"""The frontier of training time: budgets are met, rates are bracketed, and differences are at equal cost."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from benchmarks import frontier
from benchmarks.frontier import bracketed, choose_rate, decide
from benchmarks.frontier_pictures import picture_subject
from benchmarks.frontier_plot import LINES, drawing
from benchmarks.frontier_table import at_best, best_rate, between, length, table
from benchmarks.frontier_training import Subject, measured
from benchmarks.frontier_variants import CONTROL, FAST_AT_ONCE, FAST_RULE, RULE, SCRATCH, VARIANTS
from benchmarks.rows import Row, unrecorded
from PIL import Image

from prunus import data
from prunus.segmentation import Patches
from prunus.tasks import Task
from prunus.tasks.pictures import Pictures
from prunus.training import TrainConfig

KEY = {"called": "digits", "network": "lenet5", "epochs": 6, "augment": "none"}


@pytest.fixture(scope="module")
def subject() -> Subject:
    images = data.load("digits")
    few = images.train.subset(torch.arange(200))
    return Subject(
        Task(few, test=images.test, normalise=images.normalise), "lenet5", "none", images.image_shape, 6
    )


def row(variant: str, budget: float, accuracy: float, **more: Any) -> Row:
    usual = {
        "trained_epochs": 3,
        "lr": 0.1,
        "seed": 0,
        "cost": budget,
        "measured_on": "test",
        "macs_left": 1.0,
        "samples": 1.0,
        "measured": {"all": unrecorded(0)},
    }
    return KEY | {"variant": variant, "budget": budget, "accuracy": accuracy} | usual | more


TAUGHT = "with a quickly trained teacher"


@pytest.mark.parametrize("name", [CONTROL, SCRATCH, RULE, FAST_RULE, FAST_AT_ONCE, TAUGHT])
def test_a_training_costs_what_its_epochs_cost(subject: Subject, tmp_path: Path, name: str) -> None:
    rate = 0.05 * VARIANTS[name].scale
    key = KEY | {"variant": name, "budget": 0.5, "trained_epochs": 4, "lr": rate, "seed": 1}
    found = measured(subject, VARIANTS[name], key, tmp_path / "a.checkpoint")
    left = found["macs_left"]
    if name == CONTROL:
        assert found["cost"] == pytest.approx(4 / 6, abs=1e-4) and left == 1
    elif name == TAUGHT:
        assert found["cost"] == pytest.approx((1 + 4 * 4 / 3) / 6, abs=1e-4)
    elif name == SCRATCH:
        assert found["cost"] == pytest.approx(4 / 6 * left, abs=1e-3) and 0.4 < left < 0.6
    else:
        wide = 1 if name == FAST_AT_ONCE else 2  # epochs before filters go
        most = (wide + (4 - wide) * left) / 6
        assert found["samples"] * most - 0.02 < found["cost"] <= most + 1e-3 and 0.4 < left < 0.6
    assert found["seconds"] > 0


def test_rates_go_on_until_the_best_lies_between_others() -> None:
    assert set(bracketed(lambda rate: -abs(math.log(rate / 0.4)), [0.1, 0.05])) == {0.05, 0.1, 0.2, 0.4, 0.8}
    assert set(bracketed(lambda rate: -rate, [1.0])) == {1.0, 0.5, 0.25, 0.12}
    assert set(bracketed(lambda rate: -abs(rate - 2), [1.0, 2.0, 4.0])) == {1.0, 2.0, 4.0}


def test_held_out_rows_say_how_many_epochs_meet_the_budget() -> None:
    key = KEY | {"variant": RULE, "budget": 0.5}
    guess = VARIANTS[RULE].epochs(0.5, 6)
    assert length([], key) == guess == 5
    held = row(RULE, 0.5, 90, trained_epochs=guess, cost=0.4, measured_on="validation")
    assert length([held], key) == 6
    again = held | {"trained_epochs": 6, "cost": 0.49}
    assert length([held, again], key) == 6
    assert length([held, again, again | {"lr": 0.2, "cost": 0.3}, held | {"cost": 0.5}], key) == 6
    assert length([held | {"measured_on": "test"}], key) == guess
    assert best_rate([held, again, again | {"lr": 0.2, "accuracy": 91}], key) == 0.2
    assert best_rate([held], key) is None
    assert best_rate([again, held, row(RULE, 1.0, 99, lr=7.0, measured_on="validation")], key) == 0.1
    assert length([held], key | {"budget": 0.8}) == 10  # 5 / 0.4 * 0.8, though none was held out there
    longer = key | {"epochs": 12, "budget": 0.25}  # as much as half of six epochs
    assert (length([held, again], longer), best_rate([held, again], longer)) == (6, 0.1)
    assert length([held, again], longer | {"budget": 0.5}) == 12
    assert best_rate([again, held | {"epochs": 24, "lr": 9.0, "budget": 0.2}], longer) == 0.1
    tested = [row(RULE, 0.5, 90 + epochs, trained_epochs=epochs) for epochs in (5, 6)]
    assert at_best([held, again, *tested]) == tested[1:]
    assert at_best([held, again, *tested[:1]]) == tested[:1]  # nothing has taken its place
    tried = row(RULE, 1.0, 90, trained_epochs=10, measured_on="validation", lr=0.3)
    assert best_rate([tried | {"trained_epochs": VARIANTS[RULE].epochs(1.0, 6)}], key) == 0.3


def test_the_control_is_read_off_at_equal_cost() -> None:
    accuracies = {0.25: 80.0, 0.5: 90.0}
    assert between(accuracies, math.sqrt(0.125)) == pytest.approx(85)
    assert (between(accuracies, 0.1), between(accuracies, 0.5), between(accuracies, 2.0)) == (80, 90, 90)
    rows = [row(CONTROL, cost, value, seed=seed) for cost, value in accuracies.items() for seed in (0, 1)]
    rows += [row(RULE, 0.5, 91 + seed, seed=seed, seconds=1.0) for seed in (0, 1)]
    assert "| +1.50 ± 0.50 |" in table({"rows": rows})
    far = [one | {"cost": 0.7} for one in rows if one["variant"] == RULE]  # nothing to be read off there
    assert "+" not in table({"rows": [*rows[:4], *far]}).partition("### Budget 0.5")[2]


def test_trainings_that_diverged_are_counted_apart() -> None:
    rows = [row(RULE, 0.5, accuracy, seed=seed) for seed, accuracy in enumerate((90.0, 91.0, 92.0))]
    rows.append(row(RULE, 0.5, 0.0, seed=3) | {"cost": 0.0, "macs_left": 1.0})
    text = table({"rows": rows})
    assert "| 91.00 ± 1.00, 1 of 4 diverged |" in text and "| 4 |" in text


def test_a_rate_is_chosen_and_then_used(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier, "RESULT", tmp_path / "frontier.json")
    monkeypatch.setattr(frontier, "RESULTS", tmp_path)
    monkeypatch.setattr(frontier, "outcome", lambda subject, key, partial: told(key))
    options = argparse.Namespace(**KEY, seeds=2, rates=[0.1, 0.2], validation=True, untimed=True)
    result: Row = {"rows": []}
    decide(result, subject, CONTROL, 0.5, options)
    assert not result["rows"]
    choose_rate(result, subject, CONTROL, 0.5, options)
    options.validation = False
    decide(result, subject, CONTROL, 0.5, options)
    tested = [one for one in result["rows"] if one["measured_on"] == "test"]
    assert [(one["lr"], one["seed"], one["trained_epochs"]) for one in tested] == [(0.4, 0, 3), (0.4, 1, 3)]
    before = len(result["rows"])
    decide(result, subject, CONTROL, 0.5, options)
    assert len(result["rows"]) == before and "seconds" not in tested[0]
    assert "**0.4: 100.00**" in table(result)


@pytest.mark.parametrize("name", [name for name in VARIANTS if VARIANTS[name].config])
def test_settings_of_variants_are_those_of_trainings(name: str) -> None:
    config = TrainConfig(**VARIANTS[name].config)
    assert config != TrainConfig() and VARIANTS[name].relative <= 1


def test_pictures_are_a_subject(tmp_path: Path) -> None:
    """Nothing is tested on that rates are chosen by, or that is trained on."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for number in range(10):
            pixels = np.random.default_rng(number).integers(0, 256, (64, 64), dtype=np.uint8)
            pixels = pixels if folder == "images" else np.where(pixels > 99, 255, 0).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    choosing, testing = (picture_subject(tmp_path, 4, validation) for validation in (True, False))
    names = [{one.name for one in cast(Pictures, found.task.test).examples} for found in (choosing, testing)]
    kept = {one.name for one in cast(Patches, choosing.task.train)._examples}
    assert [len(one) for one in names] == [2, 2] and not names[0] & names[1] and len(kept) == 6
    assert not kept & (names[0] | names[1])
    assert {one.name for one in cast(Patches, testing.task.train)._examples} == kept | names[0]
    assert 0.4 < choosing.left(choosing.plan(choosing.dense(0), choosing.rate)) < 0.6
    small, left = choosing.small(0)
    assert small(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 64, 64) and 0.4 < left < 0.6
    assert choosing.config(2, 0.1, 3, ema=0.9).ema == 0.9


def test_every_set_has_a_panel_and_every_way_a_name() -> None:
    rows = [row(CONTROL, cost, 90 + cost, seed=seed) for cost in (0.25, 1.0) for seed in (0, 1)]
    rows += [one | {"called": "others", "variant": name} for one in rows for name in LINES]
    text = drawing(rows, 760)
    assert text.startswith("<svg xmlns=") and text.count("lenet5: accuracy, %") == 2
    assert all(f">{title}<" in text for title, _, _ in LINES.values())


def told(key: Row) -> Row:
    """As if the best rate were 0.4."""
    accuracy = 100 - abs(math.log(key["lr"] / 0.4))
    return {"accuracy": accuracy, "cost": 0.5, "samples": 1.0, "macs_left": 1.0, "seconds": 1.0}
