"""Scores of other packages, by their names."""

from __future__ import annotations

import json

import pytest
import torch
from tests.packages import Package, package
from torch import nn
from typer.testing import CliRunner

import prunus
from prunus import runs, scores
from prunus.cli.app import app
from prunus.errors import ConfigError
from prunus.methods.named import score_named

__all__ = ["package"]

SOURCE = """
import torch

def last_first(graph):
    return torch.arange(graph.num_channels, dtype=torch.float)
"""
runner = CliRunner()


@pytest.fixture(autouse=True)
def mine(package: Package) -> None:
    """A package with a score."""
    package("my-scores", SOURCE, scores="last-first = my_scores:last_first\ngone = my_scores:gone")


def graph() -> prunus.ChannelGraph:
    return prunus.trace(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)), torch.zeros(1, 1, 8, 8))


def test_python_finds_it_in_the_room_of_scores() -> None:
    assert scores.last_first(graph()).tolist() == [0, 1, 2, 3]  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = scores.nothing  # type: ignore[attr-defined]


def test_a_broken_one_is_a_warning_and_no_attribute() -> None:
    with pytest.warns(UserWarning, match="of the package my-scores cannot be imported"):
        assert not hasattr(scores, "gone")


def test_shrink_takes_it_by_name() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3))
    out = prunus.shrink(model, None, rate=0.5, score="last-first", example_inputs=torch.zeros(1, 1, 8, 8))
    assert out.plan.removed_in(out.graph).tolist() == [True, True, False, False]
    with pytest.raises(ConfigError, match="The score 'gone' of the package my-scores cannot be imported"):
        score_named("gone", None)
    with pytest.raises(ConfigError, match=r"There is no score 'none-such'; there are .*last-first"):
        score_named("none-such", None)


def test_settings_and_flags_take_it(tmp_path: object) -> None:
    assert runs.PruneSettings(rate=0.5, score="last-first").score == "last-first"
    line = f"prune lenet5 --rate 0.5 --score last-first --no-onnx --no-report --json -o {tmp_path}/out"
    result = runner.invoke(app, line.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["target"]["score"] == "last-first"


def test_a_broken_one_is_one_sentence_of_the_command() -> None:
    line = "prune lenet5 --rate 0.5 --score gone --no-onnx --no-report -o nowhere"
    result = runner.invoke(app, line.split())
    assert result.exit_code == 1 and "of the package my-scores cannot be imported" in result.stderr
    result = runner.invoke(app, [*line.split(), "--score", "none-such"])
    assert result.exit_code == 2 and "last-first" in result.stderr.replace("\n", " ")


def test_it_is_listed() -> None:
    assert {"name": "last-first", "summary": "a score of the package my-scores"}.items() <= next(
        one for one in runs.methods()["scores"] if one["name"] == "last-first"
    ).items()
