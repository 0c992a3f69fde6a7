"""A quantised file on the page and in the verdict."""

from __future__ import annotations

from typing import Any

import pytest

from prunus.report import int8_panel, words
from prunus.report.html import comparison, render
from prunus.report.verdict import verdict

pytest.importorskip("jinja2", reason="the extra report is not installed")
pytest.importorskip("matplotlib", reason="the extra report is not installed")


def network(name: str, size: int, accuracy: float, median: float, factor: float) -> dict[str, Any]:
    speedup = {"factor": factor, "wins": 1.0, "certain": True}
    times = {"median_ms": median, "q25_ms": median * 0.99, "q75_ms": median * 1.02}
    return {"network": name, "bytes": size, "accuracy": accuracy, "speedup": speedup} | times


@pytest.fixture
def panel() -> dict[str, Any]:
    trial = {"kept_float": [], "metric": 95.0, "lowest": 94.0, "accepted": False}
    return {
        "file": "model.int8.onnx",
        "opset": 20,
        "weight_bits": 8,
        "weight_bytes": 300_000,
        "noise": 0.01,
        "quantised": 54,
        "kept_float": ["conv1", "layer3.8.conv2"],
        "tolerance": 0.5,
        "confidence": 0.95,
        "held_out": 5000,
        "baseline": 96.0,
        "trials": [
            trial,
            trial
            | {
                "kept_float": ["conv1", "layer3.8.conv2"],
                "metric": 96.0,
                "lowest": 95.8,
                "accepted": True,
            },
        ],
        "sensitivities": [{"layer": "conv1", "noise": 0.04}],
        "networks": [
            network("before", 3_600_000, 93.1, 6.2, 1.0),
            network("compact", 1_100_000, 92.9, 3.1, 2.0),
            network("int8", 330_000, 92.6, 1.1, 5.6),
        ],
    }


def test_the_page_shows_networks_trials_and_layers_in_float(
    resnet: dict[str, Any], panel: dict[str, Any]
) -> None:
    page = render(resnet | {"int8": panel})
    assert "In 8 bits" in page and "54 of 56 layers compute in 8 bits" in page
    assert (
        "2 trials, and the layers in float" in page
        and "rejected" in page
        and "layer3.<wbr>8.<wbr>conv2" in page
    )
    assert "In 8 bits" not in render(resnet)


def test_the_verdict_is_of_the_file_that_is_delivered(resnet: dict[str, Any], panel: dict[str, Any]) -> None:
    said = verdict(resnet | {"int8": panel}).replace(words.FIXED, " ")
    assert said == f"10.9× smaller, 5.6× faster, accuracy {words.MINUS}0.5 points"
    last = comparison(resnet | {"int8": panel})[-3:]
    assert [row["change"] for row in last] == ["10.9×", "5.6×", f"{words.MINUS}0.5 points"]
    panel["networks"][2]["speedup"]["certain"] = False
    assert "speed unchanged" in verdict(resnet | {"int8": panel}).replace(words.FIXED, " ")


def test_the_sentence_says_what_was_reached(panel: dict[str, Any]) -> None:
    assert (
        int8_panel.text(panel)
        == "54 of 56 layers compute in 8 bits: so quantising costs at most 0.5 points of accuracy on 5,000"
        f" held-out samples with 95{words.SPACE}% confidence."
    )
    assert int8_panel.text(panel | {"kept_float": [], "weight_bits": 7}).startswith(
        "All 54 layers compute in 8 bits (weights in 7, "
    )


def test_a_metric_in_a_unit_of_its_own_has_no_percents(resnet: dict[str, Any], panel: dict[str, Any]) -> None:
    networks = [row | {"accuracy": -0.01 * (place + 1)} for place, row in enumerate(panel["networks"])]
    trials = [row | {"metric": -0.031, "lowest": -0.032} for row in panel["trials"]]
    panel |= {"metric": "squared error", "networks": networks, "trials": trials, "tolerance": 0.01}
    assert "at most 0.01 of squared error on" in int8_panel.text(panel)
    last = comparison(resnet | {"int8": panel})[-1]
    assert [last[key] for key in ("before", "after", "change")] == ["−0.0100", "−0.0300", "−0.0200"]
    section = int8_panel.section(panel)
    assert section["trials"][0]["value"] == "−0.0310" and section["networks"][0]["accuracy"] == "−0.0100"
