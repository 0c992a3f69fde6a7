"""What there is to choose from, listed from Python."""

from __future__ import annotations

import pytest

from prunus import models, runs
from prunus.cli import catalogue
from prunus.methods.registry import METHODS
from prunus.runs import listing
from prunus.runs.names import Score

ROW = {"one_shot": 40.04, "tuned": 86.5, "deviation": 0.21, "seeds": 3, "macs_left": 0.5}
ONE = ROW | {"one_shot": None, "deviation": None, "seeds": 1}
FOUND = {
    "network": "resnet20",
    "data": "CIFAR-10",
    "macs": 0.5,
    "epochs": 4,
    "train": 12800,
    "before": 88.0,
    "controls": {"random": ROW},
    "methods": {"soft": ONE},
    "scores": {"norm-l1": ROW},
}


def test_every_method_and_score_is_listed() -> None:
    listed = runs.methods()
    assert [one["name"] for one in listed["methods"]] == [*METHODS, "critical", "cascade"]
    assert [one["name"] for one in listed["scores"]] == list(Score)
    assert all(one["summary"] and one["paper"] for rows in listed.values() for one in rows)


def test_every_network_has_its_cost() -> None:
    found = runs.networks()
    assert tuple(one["name"] for one in found) == models.names()
    assert all(one["params"] > 0 for one in found)
    # convolutions use a weight at many places; the weights of these two are in linear layers
    linear = ("vgg16_bn", "lenet300")
    assert all(one["macs"] > one["params"] for one in found if one["name"] not in linear)


def test_what_was_measured_stands_beside_the_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "measured", lambda: FOUND)
    by_name = {one["name"]: one["measured"] for rows in runs.methods().values() for one in rows}
    assert by_name["soft"] == ONE and by_name["norm-l1"] == ROW and by_name["pls"] is None
    catalogue.methods()
    text = capsys.readouterr().out
    assert "86.5 (one seed)" in text and "40.0 → 86.5 ± 0.2" in text
    assert "resnet20 on CIFAR-10 with 50% of its MACs" in text and "4 epochs of 12,800 samples" in text
    assert "Controls: random: 40.0 → 86.5" in text


def test_without_rows_nothing_is_said_of_any(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "measured", dict)
    assert all(one["measured"] is None for rows in runs.methods().values() for one in rows)
    catalogue.methods()
    assert "Controls:" not in capsys.readouterr().out
