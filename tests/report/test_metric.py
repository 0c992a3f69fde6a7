"""Numbers of a metric, in percent or in a unit of its own, wherever a page has them."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from prunus._foundation.wording import PERCENT
from prunus.report.html import comparison
from prunus.report.metric import metric_of, metric_words
from prunus.report.verdict import verdict
from prunus.report.words import FIXED, SPACE

SQUARED = metric_words("squared error")
TRIALS = [
    {"left": 0.5, "value": -0.0101, "lowest": -0.0112, "accepted": True},
    {"left": 0.25, "value": -0.0404, "lowest": -0.0413, "accepted": False},
]


@pytest.mark.parametrize(
    ("recorded", "name", "percent"),
    [
        (None, "accuracy", True),
        ("top-1 accuracy", "accuracy", True),
        ("top-1 accuracy, percent", "accuracy", True),
        ("mean IoU, percent", "mean IoU", True),
        ("squared error", "squared error", False),
    ],
)
def test_the_unit_is_that_of_the_record(recorded: str | None, name: str, percent: bool) -> None:
    metric = metric_words(recorded)
    assert (metric.name, metric.percent) == (name, percent)


def test_numbers_of_both_kinds() -> None:
    iou = metric_words("mean IoU, percent")
    assert (iou.title, iou.text(71.24)) == ("Mean IoU", f"71.2{SPACE}%")
    assert iou.figure(71.249, decimals=2) == "71.25"
    assert (iou.change(71.2, 70.9), iou.verdict(71.2, 71.2)) == ("−0.3 points", "mean IoU unchanged")
    assert (iou.amount(1), iou.amount(0.5)) == ("1 point of mean IoU", "0.5 points of mean IoU")
    assert (SQUARED.text(-0.00123), SQUARED.change(-0.01, -0.04)) == ("−0.00123", "−0.0300")
    assert SQUARED.change(0.5, 0.5000001) == "±0" and SQUARED.verdict(1.0, 2.0) == "squared error +1.00"
    assert SQUARED.amount(0.01) == "0.01 of squared error"


def test_figures_have_the_unit_of_the_metric() -> None:
    """A search by a squared error was drawn in percent, on an axis that had room for half a point."""
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    from prunus.report import plots, steps, trials

    told = [{"step": "before", "value": -0.0101}, {"step": "after removal", "value": -0.0404}]
    drawn = steps.accuracy(told, 600.0, SQUARED)
    assert "Squared error: before −0.0101, after removal −0.0404" in drawn
    searched = trials.search(TRIALS, -0.0111, 600.0, SQUARED)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", searched)
    assert "Validation squared error" in texts and "limit −0.0111" in texts
    ticks = [one for one in texts if re.fullmatch(r"[−-]0\.0\d+", one)]
    assert len(ticks) >= 3, texts  # an axis of whole numbers had one: 0
    epochs = [{"epoch": number, "loss": 0.0123, "accuracy": -0.1 * number} for number in range(3)]
    trained = plots.training([{"name": "training", "epochs": epochs}], 600.0, SQUARED)
    assert "Squared error, %" not in trained and "Squared error" in trained
    assert "−0.20" in trained and "0.0123" in trained  # a small loss ended at 0.01


def test_a_metric_in_a_unit_of_its_own_keeps_its_digits(lenet: dict[str, Any]) -> None:
    """A squared error four times as large was unchanged, at −0.0 %."""
    result = copy.deepcopy(lenet)
    steps = [{"step": "before", "value": -0.0101}, {"step": "after removal", "value": -0.0404}]
    result["accuracy"] = result["accuracy"] | {"metric": "squared error", "steps": steps}
    assert verdict(result).replace(FIXED, " ").endswith("squared error −0.0303")
    row = comparison(result)[-1]
    assert (row["before"], row["after"], row["change"]) == ("−0.0101", "−0.0404", "−0.0303")
    steps[1]["value"] = -0.0101
    assert verdict(result).endswith("unchanged")
    result["accuracy"]["steps"] = [{"step": "pruned softly", "value": -0.0101}]
    assert verdict(result).replace(FIXED, " ").endswith("−0.0101 (no dense network was trained)")


def test_a_result_is_told_by_its_own_metric(lenet: dict[str, Any]) -> None:
    result = copy.deepcopy(lenet)
    result["accuracy"]["metric"] = "mean IoU, percent"
    assert verdict(result).replace(FIXED, " ").endswith("mean IoU −0.2 points")
    assert metric_of(result).title == "Mean IoU" and metric_of(lenet).title == "Accuracy"
    assert [row["name"] for row in comparison(result)][-1] == "Mean IoU on the test set"


def test_percents_that_have_run_away_are_no_lines_of_digits() -> None:
    """A regression that diverged was told as R² -2637688208240996448680804352.00."""
    metric = metric_words(f"R²{PERCENT}")
    assert metric.figure(-2.6e27, decimals=2) == "−2.6e+27"
    assert metric.change(50.0, -2.6e27) == "−2.6e+27 points"
    assert metric.figure(-999_999.0) == "-999999.0"
