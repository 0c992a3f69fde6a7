"""The outcome of a run in one line."""

from __future__ import annotations

import copy
from typing import Any

from prunus.report import words
from prunus.report.html import comparison
from prunus.report.verdict import not_faster, verdict
from prunus.report.words import FIXED


def test_the_verdict(lenet: dict[str, Any]) -> None:
    assert verdict(lenet).replace(FIXED, " ") == "6.2× smaller, 2.8× faster, accuracy −0.2 points"


def test_no_speed_is_claimed_within_the_noise(lenet: dict[str, Any]) -> None:
    result = copy.deepcopy(lenet)
    row = result["latency"][-1]
    row["speedup"]["certain"] = False
    assert "speed unchanged" in verdict(result).replace(FIXED, " ")
    row["speedup"] = {"factor": 0.5, "wins": 0.0, "certain": True}
    assert "2.0× slower" in verdict(result).replace(FIXED, " ")


def test_a_network_that_is_not_faster_is_told_what_would_make_it_so(lenet: dict[str, Any]) -> None:
    assert not_faster(lenet) == ""
    result = copy.deepcopy(lenet)
    row = result["latency"][-1]
    row["speedup"]["certain"] = False
    said = not_faster(result).replace(FIXED, " ")
    assert (
        f"it is not faster in {row['runtime']} here" in said
        and "--latency 0.5" in said
        and "--round-to auto" in said
        and "--blocks N" in said
    )
    row["speedup"] = {"factor": 0.5, "wins": 0.0, "certain": True}
    assert not_faster(result)
    assert "--latency" not in not_faster(result | {"target": {**result["target"], "kind": "latency"}})
    result["cost"]["after"]["macs"] = result["cost"]["before"]["macs"]
    assert not_faster(result) == "" and not_faster(result | {"latency": []}) == ""


def test_the_verdict_says_only_what_was_measured(lenet: dict[str, Any]) -> None:
    assert (
        verdict({**lenet, "latency": [], "accuracy": None}).replace(FIXED, " ")
        == "6.2× smaller, accuracy not measured"
    )


def test_no_change_of_accuracy_is_claimed_without_a_dense_network(lenet: dict[str, Any]) -> None:
    """What was pruned while it was trained is no control of itself."""
    result = copy.deepcopy(lenet)
    result["accuracy"]["steps"][0]["step"] = "pruned softly"
    said = verdict(result).replace(FIXED, " ").replace(words.SPACE, " ")
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
        verdict(result).replace(FIXED, " ")
        == f"2.0× fewer MACs, 1.60× faster, accuracy {words.MINUS}0.4 points"
    )
