"""What there is to choose from, listed from Python."""

from __future__ import annotations

from prunus import models, runs
from prunus.methods.registry import METHODS
from prunus.runs.names import Score


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
