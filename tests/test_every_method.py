"""The table of every method: nothing that has a name lacks a way, and what `prunus methods` shows is what the
rows give.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from benchmarks import every_method, every_method_rules, every_method_ways
from benchmarks.environment import RESULTS
from benchmarks.every_method_course import Begun, Course, Way
from benchmarks.every_method_table import listed, table
from benchmarks.every_method_ways import WAYS
from benchmarks.rows import ALL, Row, kept, unrecorded
from benchmarks.stages import Material
from benchmarks.tuned_networks import Lesson, cost

from prunus import data
from prunus.data import Split
from prunus.methods.named import SCORES
from prunus.methods.registry import METHODS
from prunus.models.resnet import CifarResNet
from prunus.runs.listing import MEASURED
from prunus.runs.listing import METHODS as LISTED
from prunus.runs.recipe import Select
from prunus.tasks import Task

APART = ("cascade",)  # of several networks; it has a table of its own
KEY: Row = {
    "called": "digits",
    "network": "resnet8",
    "weights": "some.th",
    "epochs": 4,
    "lr": 0.05,
    "train": 0,
    "limit": 0,
    "measured_on": "test",
    "macs": 0.5,
}


def row(way: str, seed: int, tuned: float, first: float | None = None, **changed: Any) -> Row:
    accuracy = {"dense": 90.0, "tuned": tuned} | ({} if first is None else {"before tuning": first})
    known = WAYS[way]
    found = {
        "kind": known.kind,
        "listed": known.listed,
        "spent": 0,
        "alone": None,
        "samples": 100,
        "samples_seen": 4.0,
        "macs_left": 0.5,
        "params": 1000,
        "accuracy": accuracy,
        "measured": {ALL: unrecorded(seed)},
    }
    return KEY | {"way": way, "seed": seed} | found | changed


def test_every_name_has_a_way() -> None:
    names = {way.listed for way in WAYS.values()}
    assert set(SCORES) | set(METHODS) | (set(LISTED) - set(APART)) <= names
    rules = {name for name in get_args(Select) if name != "all"} | set(every_method_rules.STATIC)
    assert {f"{rule} samples" for rule in rules} == {name for name in WAYS if WAYS[name].kind == "samples"}


def test_the_package_shows_what_the_rows_give() -> None:
    assert json.loads(MEASURED.read_text()) == listed(kept(RESULTS / "every_method.json"))


def test_what_is_listed_is_the_mean_of_the_rows_of_one_recipe() -> None:
    rows = [row("norm-l1", 0, 80.0, 40.0), row("norm-l1", 1, 82.0, 42.0), row("random", 0, 79.0, 20.0)]
    rows += [row("soft", 0, 75.0), row("thinet, refitted", 0, 70.0, 60.0)]
    others = [row("norm-l2", 0, 1.0, measured_on="choosing"), row("norm-l2", 0, 1.0, limit=9)]
    found = listed({"rows": [*others, *rows, row("norm-l1", 0, 9.0, epochs=8)]})
    assert found["scores"]["norm-l1"] == {
        "one_shot": 41.0,
        "tuned": 81.0,
        "deviation": 1.41,
        "seeds": 2,
        "macs_left": 0.5,
    }
    assert found["methods"]["soft"]["one_shot"] is None and found["methods"]["soft"]["deviation"] is None
    assert set(found["scores"]) == {"norm-l1", "random"} and set(found["controls"]) == {"random"}
    assert (found["macs"], found["epochs"], found["before"]) == (0.5, 4, 90.0)
    assert listed({"rows": others}) == {}


def test_a_difference_is_from_the_control_of_the_same_seed() -> None:
    rows = [row("norm-l1", seed, 80.0 + 3 * seed, 40.0) for seed in range(3)]
    rows += [row("random", seed, 78.0 + seed, 20.0) for seed in range(3)]
    rows += [row("el2n samples", 0, 70.0, 40.0), row("random samples", 0, 71.0, 40.0)]
    text = table({"rows": rows})
    line = next(one for one in text.splitlines() if one.startswith("| norm-l1 |"))
    assert line.endswith("| 40.00 ± 0.00 | 83.00 ± 3.00 | +4.00 ± 2.00 | 3 |")
    assert "| -1.00 | 1 |" in next(one for one in text.splitlines() if one.startswith("| el2n"))
    assert text.index("### Scores, alone") < text.index("### Samples of the tuning")


def test_forgetting_counts_first_and_keeps_half_later() -> None:
    rule = every_method_rules.Remembered(4, counted=2)
    for correct in ([1, 1, 1, 0], [0, 1, 1, 0], [1, 1, 1, 0]):
        rule.observe(torch.arange(4), torch.zeros(4), torch.tensor(correct, dtype=torch.bool))
    network = torch.nn.Identity()
    assert rule.choose(network, 1, 4) is None
    chosen = rule.choose(network, 2, 4)
    # the first was forgotten once, the last was never told right
    assert chosen is not None and np.array_equal(chosen.indices, [0, 3])
    again = every_method_rules.Remembered(4, counted=9)
    again.restore(rule.state())
    assert np.array_equal(again.events, rule.events) and again.choose(network, 1, 4) is None


class Small:
    """Digits, and a network that was hardly trained."""

    def __init__(self) -> None:
        digits = data.load("digits")
        self.parts = [digits.train.subset(torch.arange(start, start + 60)) for start in (0, 60, 120)]
        torch.manual_seed(0)
        self.dense = CifarResNet(1, in_channels=1).eval()
        self.about = Material(*self._three(), digits.normalise, "none", torch.zeros(1, 1, 8, 8))

    def _three(self) -> tuple[Split, Split, Split]:
        first, second, third = self.parts
        return first, second, third

    def course(self, folder: Path, epochs: int = 2) -> Course:
        about = self.about
        task = Task(about.train, about.choosing, normalise=about.normalise)
        return Course(Lesson(self.dense, about, 0.5, 0), task, "resnet8", epochs, 0.01, folder, "every-a")


@pytest.fixture(scope="module")
def small() -> Small:
    return Small()


def test_what_a_method_leaves_too_much_goes_by_its_own_numbers(small: Small, tmp_path: Path) -> None:
    course = small.course(tmp_path)
    begun = every_method_ways.of_both_kinds(course)
    whole = cost(small.dense, small.about.example)
    assert begun.alone is not None and begun.spent == 1
    assert cost(begun.network, small.about.example) <= 0.5 * whole


def test_a_rate_leaves_no_more_than_the_macs(small: Small, tmp_path: Path) -> None:
    begun = every_method_ways.greedy(small.course(tmp_path))
    share = cost(begun.network, small.about.example) / cost(small.dense, small.about.example)
    assert 0.3 < share <= 0.5


def test_a_broken_row_goes_on_with_the_network_that_was_made(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prunus.models.build", lambda name, num_classes: CifarResNet(1, in_channels=1))
    course, options = small.course(tmp_path), argparse.Namespace(choosing=False)
    way = Way("method", every_method_ways.slimmed)
    first = every_method.begun_by(course, way)

    def refused(course: Course) -> Begun:
        raise AssertionError("It was made before.")

    again = every_method.begun_by(course, Way("method", refused))
    made, read = first.network.state_dict(), again.network.state_dict()
    assert made.keys() == read.keys() and again.spent == 1 and not again.network.training
    assert all(
        torch.equal(made[name], read[name]) for name in made
    )  # the file says nothing of memory formats
    found = every_method.measured(options, course, Way("method", refused))
    assert found["spent"] == 1 and found["samples_seen"] == 2.0 and found["macs_left"] <= 0.5
    assert set(found["accuracy"]) == {"before tuning", "tuned"}
    assert {path.name for path in every_method.leftovers(course)} >= {"every-a.safetensors", "every-a.json"}
