"""A quantised file in words: its lines in the table of figures, and its section of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunus.report import words
from prunus.report.metric import MetricWords, metric_words
from prunus.report.verdict import network

Panel = Mapping[str, Any]
NAMES = {"before": "before", "compact": "pruned", "int8": "pruned, INT8"}


def rows(panel: Panel) -> list[dict[str, str]]:
    """Figures of the ONNX file in 8 bits against that of the original, as `prunus.report.html.comparison`
    gives them.
    """
    before, after = network(panel, "before"), network(panel, "int8")
    sure, metric = after["speedup"]["certain"], metric_words(panel.get("metric"))
    return [
        _row(
            "INT8 file",
            words.size(before["bytes"]),
            words.size(after["bytes"]),
            words.times(before["bytes"], after["bytes"]),
        ),
        _row(
            "Latency, INT8 in ONNX Runtime",
            words.milliseconds(before["median_ms"]),
            words.milliseconds(after["median_ms"]),
            words.times(after["speedup"]["factor"], 1) if sure else "within the noise",
        ),
        _row(
            f"{metric.title} of INT8 on the test set",
            metric.text(before["accuracy"]),
            metric.text(after["accuracy"]),
            metric.change(before["accuracy"], after["accuracy"]),
        ),
    ]


def section(panel: Panel) -> dict[str, Any]:
    """What the page's section shows: the networks, one sentence on the layers, and the trials if one was not
    accepted.
    """
    metric = metric_words(panel.get("metric"))
    return {
        "networks": [
            {
                "name": NAMES[row["network"]],
                "size": words.size(row["bytes"]),
                "latency": words.milliseconds(row["median_ms"]),
                "accuracy": metric.text(row["accuracy"]),
            }
            for row in panel["networks"]
        ],
        "metric": metric.title,
        "text": text(panel),
        "trials": [_trial(trial, metric) for trial in panel["trials"]] if len(panel["trials"]) > 1 else [],
        "kept_float": panel["kept_float"],
    }


def text(panel: Panel) -> str:
    """How many layers compute in 8 bits, and by what that was decided."""
    done, kept = panel["quantised"], len(panel["kept_float"])
    limit = metric_words(panel.get("metric")).amount(panel["tolerance"])
    judged = (
        f"on {panel['held_out']:,} held-out samples with {100 * panel['confidence']:g}{words.SPACE}%"
        " confidence"
    )
    every = f"All {done} layers compute" if not kept else f"{done} of {done + kept} layers compute"
    bits = "" if panel["weight_bits"] == 8 else " (weights in 7, with which no processor saturates)"
    return f"{every} in 8 bits{bits}: so quantising costs at most {limit} {judged}."


def _trial(trial: Mapping[str, Any], metric: MetricWords) -> dict[str, str]:
    return {
        "kept": str(len(trial["kept_float"])),
        "value": metric.text(trial["metric"]),
        "lowest": metric.text(trial["lowest"]),
        "verdict": "accepted" if trial["accepted"] else "rejected",
    }


def _row(name: str, before: str, after: str, change: str) -> dict[str, str]:
    return {"name": name, "before": before, "after": after, "change": change}
