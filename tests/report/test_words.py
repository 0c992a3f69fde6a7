"""Numbers in words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from prunus.report import words
from prunus.report.html import comparison

THIN, FIXED = "\u202f", "\u00a0"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (9_994, "9,994"),
        (12_345, "12.3 k"),
        (999_600, "1.00 M"),
        (125_485_706, "125 M"),
        (2e9, "2.00 G"),
    ],
)
def test_count(number: float, text: str) -> None:
    assert words.count(number) == text.replace(" ", THIN)


@pytest.mark.parametrize(
    ("number", "text"),
    [(12, "12 B"), (1_000, "1.00 kB"), (57_900, "57.9 kB"), (3_412_072, "3.41 MB"), (999_700, "1.00 MB")],
)
def test_size(number: float, text: str) -> None:
    assert words.size(number) == text.replace(" ", THIN)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0053, "0.00530"), (0.0532, "0.0532"), (0.5, "0.500"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_milliseconds(number: float, text: str) -> None:
    assert words.milliseconds(number) == f"{text}{THIN}ms"


def test_factors_differences_and_errors() -> None:
    assert words.times(100, 50) == "2.0×"
    assert words.times(3, 2) == "1.50×"
    assert words.times(1000, 5) == "200×"
    assert words.times(1, 0) == "–"
    assert words.points(0.04) == "±0.0"
    assert words.points(-1.25) == "−1.2"
    assert words.points(2.8) == "+2.8"
    assert words.error(2.1e-7) == f"2.1{THIN}×{THIN}10⁻⁷"
    assert words.error(0) == "0"


def test_the_verdict(lenet: dict[str, Any]) -> None:
    assert words.verdict(lenet).replace(FIXED, " ") == "6.2× smaller, 2.8× faster, accuracy −0.2 points"


def test_no_speed_is_claimed_within_the_noise(lenet: dict[str, Any]) -> None:
    result = copy.deepcopy(lenet)
    row = result["latency"][-1]
    row["speedup"]["certain"] = False
    assert "speed unchanged" in words.verdict(result).replace(FIXED, " ")
    row["speedup"] = {"factor": 0.5, "wins": 0.0, "certain": True}
    assert "2.0× slower" in words.verdict(result).replace(FIXED, " ")


def test_a_network_that_is_not_faster_is_told_what_would_make_it_so(lenet: dict[str, Any]) -> None:
    assert words.not_faster(lenet) == ""
    result = copy.deepcopy(lenet)
    row = result["latency"][-1]
    row["speedup"]["certain"] = False
    said = words.not_faster(result).replace(FIXED, " ")
    assert (
        f"it is not faster in {row['runtime']} here" in said
        and "--latency 0.5" in said
        and "--round-to auto" in said
        and "--blocks N" in said
    )
    row["speedup"] = {"factor": 0.5, "wins": 0.0, "certain": True}
    assert words.not_faster(result)
    assert "--latency" not in words.not_faster(result | {"target": {**result["target"], "kind": "latency"}})
    result["cost"]["after"]["macs"] = result["cost"]["before"]["macs"]
    assert words.not_faster(result) == "" and words.not_faster(result | {"latency": []}) == ""


def test_the_verdict_says_only_what_was_measured(lenet: dict[str, Any]) -> None:
    assert (
        words.verdict({**lenet, "latency": [], "accuracy": None}).replace(FIXED, " ")
        == "6.2× smaller, accuracy not measured"
    )


def test_no_change_of_accuracy_is_claimed_without_a_dense_network(lenet: dict[str, Any]) -> None:
    """What was pruned while it was trained is no control of itself."""
    result = copy.deepcopy(lenet)
    result["accuracy"]["steps"][0]["step"] = "pruned softly"
    said = words.verdict(result).replace(FIXED, " ").replace(words.SPACE, " ")
    assert said == "6.2× smaller, 2.8× faster, accuracy 98.4 % (no dense network was trained)"
    row = next(row for row in comparison(result) if row["name"].startswith("Accuracy"))
    assert (row["before"], row["change"]) == ("–", "no dense training")


def test_the_verdict_on_a_network_with_gates() -> None:
    latency = [
        {"runtime": runtime, "network": network, "p50": p50}
        for runtime, network, p50 in (
            ("PyTorch", "all channels", 4.0),
            ("PyTorch", "with gates", 5.0),
            ("ONNX Runtime", "all channels", 2.0),
            ("ONNX Runtime", "with gates", 1.25),
        )
    ]
    assert words.paired(latency)[1] == {"runtime": "ONNX Runtime", "before": 2.0, "after": 1.25}
    result: dict[str, Any] = {
        "cost": {"before": {"macs": 100, "bytes": 10}, "after": {"macs": 50, "bytes": 11}},
        "accuracy": {"steps": [{"step": "before", "value": 90.0}, {"step": "with gates", "value": 89.6}]},
        "dynamic": {"latency": latency},
    }
    assert (
        words.verdict(result).replace(FIXED, " ")
        == f"2.0× fewer MACs, 1.60× faster, accuracy {words.MINUS}0.4 points"
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (-0.00123, "−0.00123"), (45_612.0, "45,612"), (1.234e-9, "1.2e-09"), (-2e7, "−2.0e+07")],
)
def test_numbers_of_any_size(number: float, text: str) -> None:
    assert words.number(number) == text
    assert words.short(98.407) == "98.41" and words.short(-0.00123) == "−0.00123" and words.short(0) == "0.00"


def test_a_metric_in_a_unit_of_its_own_keeps_its_digits(lenet: dict[str, Any]) -> None:
    """A squared error four times as large was unchanged, at −0.0 %."""
    result = copy.deepcopy(lenet)
    steps = [{"step": "before", "value": -0.0101}, {"step": "after removal", "value": -0.0404}]
    result["accuracy"] = result["accuracy"] | {"metric": "squared error", "steps": steps}
    assert words.verdict(result).replace(FIXED, " ").endswith("squared error −0.0303")
    row = comparison(result)[-1]
    assert (row["before"], row["after"], row["change"]) == ("−0.0101", "−0.0404", "−0.0303")
    from prunus.report.steps import accuracy

    drawn = accuracy(steps, 600.0, "Squared error", percent=False)
    assert "Squared error: before −0.0101, after removal −0.0404" in drawn
    steps[1]["value"] = -0.0101
    assert words.verdict(result).endswith("unchanged")
    result["accuracy"]["steps"] = [{"step": "pruned softly", "value": -0.0101}]
    assert words.verdict(result).replace(FIXED, " ").endswith("−0.0101 (no dense network was trained)")


def test_a_result_is_told_by_its_own_metric(lenet: dict[str, Any]) -> None:
    result = copy.deepcopy(lenet)
    result["accuracy"]["metric"] = "mean IoU, percent"
    assert words.verdict(result).replace(FIXED, " ").endswith("mean IoU −0.2 points")
    assert words.metric_title(result) == "Mean IoU" and words.metric_title(lenet) == "Accuracy"
    assert [row["name"] for row in comparison(result)][-1] == "Mean IoU on the test set"
