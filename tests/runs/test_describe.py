"""From what a method returned to the plain data of a result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import prunus
from prunus.errors import ConfigError
from prunus.methods.common import Outcome, Target
from prunus.models import lenet5
from prunus.report.metric import metric_words
from prunus.report.result import check
from prunus.runs.describe import Provenance, _spread, describe, files, target_text


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return prunus.shrink(lenet5(image_size=8), None, rate=0.5, example_inputs=torch.zeros(1, 1, 8, 8))


def test_a_result_is_json_and_has_what_every_result_has(outcome: Outcome) -> None:
    found = describe(outcome, Provenance({"name": "lenet5"}, seed=3), environment={"python": "3"})
    check(found)
    assert json.loads(json.dumps(found)) == found
    assert found["model"]["name"] == "lenet5" and found["seed"] == 3
    for side, cost in (("before", outcome.before), ("after", outcome.plan.after)):
        assert found["cost"][side]["macs"] == cost.macs


def test_what_was_not_measured_is_there_and_empty(outcome: Outcome) -> None:
    found = describe(outcome, Provenance({"name": "lenet5"}), environment={})
    assert found["accuracy"] is None and found["search"] is None and found["model"]["data"] is None
    assert [found[key] for key in ("latency", "training", "timings", "files")] == [[], [], [], {}]


def test_files_are_told_with_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model").write_bytes(b"123")
    found = files({"model": tmp_path / "a" / "model"}, tmp_path)
    assert found == {"model": {"path": "a/model", "bytes": 3}}


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target("rate", 0.5), "lose 50 % of its channels"),
        (Target("macs", 0.25), "25 % of its MACs"),
        (Target("params", 1000), "at most 1,000 parameters"),
        (Target("tolerance", 1), "lose at most 1 point of accuracy on held-out samples"),
        (Target("tolerance", 0.5), "lose at most 0.5 points of accuracy on held-out samples"),
        (Target("latency", "12ms"), "take at most 12 ms in ONNX Runtime"),
    ],
)
def test_a_target_is_told_in_words(target: Target, text: str, outcome: Outcome) -> None:
    assert target_text(replace(outcome, target=target), metric_words(None)) == text


def test_where_it_comes_from_is_checked() -> None:
    wrong: Any = "lenet5"
    with pytest.raises(ConfigError, match="model must be a dict"):
        Provenance(wrong)


def test_samples_that_agree_are_no_proof_of_all_others() -> None:
    """Of 14 samples that were all wrong the note said: one standard error is 0.0 points."""
    assert _spread(0.9, 100) == "; one standard error is 3.0 points"
    assert _spread(0.0, 14) == "; of others up to 19.3 % may be right, with 95 % confidence"
    assert _spread(1.0, 300) == "; of others up to 1.0 % may be wrong, with 95 % confidence"
