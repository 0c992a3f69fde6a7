"""The outcome of a run in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prunus.report.metric import metric_of, metric_words
from prunus.report.words import DENSE, faster, paired, percent, times, unbroken

_MUCH_LEFT = 0.9  # of the MACs: whoever removes less expects no speed


def verdict(result: Mapping[str, Any]) -> str:
    """Smaller, faster and how accurate, in one line; a speed-up is claimed only where it is certain."""
    cost = result["cost"]
    if result.get("dynamic"):
        pairs = paired(result["dynamic"]["latency"])
        speed = faster(pairs[-1]["before"] / pairs[-1]["after"]) if pairs else ""
        parts = [f"{times(cost['before']['macs'], cost['after']['macs'])} fewer MACs", speed]
    elif result.get("int8"):
        return _joined(_of_int8(result["int8"]))
    else:
        parts = [f"{times(cost['before']['bytes'], cost['after']['bytes'])} smaller", _speed(result)]
    return _joined([*parts, _accuracy_of(result)])


def not_faster(result: Mapping[str, Any]) -> str:
    """What would make a network faster on the machine where it was measured, if fewer MACs did not; "" if
    they did, or nothing was measured.
    """
    measured, cost = latency_of_record(result), result["cost"]
    left = cost["after"]["macs"] / max(cost["before"]["macs"], 1)
    if (
        measured is None
        or left > _MUCH_LEFT
        or (measured["speedup"]["certain"] and measured["speedup"]["factor"] > 1)
    ):
        return ""
    asked = result["target"]["kind"] == "latency"
    ways = ["--latency 0.5 measures the layers here and prunes to a time"] if not asked else []
    ways += ["--round-to auto keeps widths that kernels like", "--blocks N leaves out whole layers"]
    gone = f"{percent(1 - left)} of the MACs are gone"
    return (
        f"{gone}, and it is not faster in {measured['runtime']} here: kernels take as long for some fewer"
        f" channels. {_listed(ways)}."
    )


def _listed(ways: Sequence[str]) -> str:
    return f"{', '.join(ways[:-1])}, and {ways[-1]}" if len(ways) > 2 else " and ".join(ways)


def dense_accuracy(steps: Sequence[Mapping[str, Any]]) -> float | None:
    """The metric of the dense network; None where the first that was measured was pruned while it was
    trained.
    """
    return float(steps[0]["value"]) if steps and steps[0]["step"] == DENSE else None


def _accuracy_of(result: Mapping[str, Any]) -> str:
    """What became of the accuracy: against the dense network, and without one no change is claimed."""
    steps = (result.get("accuracy") or {}).get("steps", [])
    if not steps:
        return "accuracy not measured"
    metric, last = metric_of(result), steps[-1]["value"]
    before = dense_accuracy(steps)
    if before is None:
        return f"{metric.name} {metric.text(last)} (no dense network was trained)"
    return metric.verdict(before, last) if len(steps) > 1 else ""


def network(panel: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What was measured of one of the ONNX files of a quantisation: before, compact or int8."""
    found: Mapping[str, Any] = next(row for row in panel["networks"] if row["network"] == name)
    return found


def _of_int8(panel: Mapping[str, Any]) -> list[str]:
    """The file in 8 bits against that of the original."""
    before, after = network(panel, "before"), network(panel, "int8")
    speed = faster(after["speedup"]["factor"]) if after["speedup"]["certain"] else "speed unchanged"
    return [
        f"{times(before['bytes'], after['bytes'])} smaller",
        speed,
        metric_words(panel.get("metric")).verdict(before["accuracy"], after["accuracy"]),
    ]


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(unbroken(part) for part in parts if part)


def latency_of_record(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The measurement that the verdict quotes: the last runtime, because deployment runtimes come after
    PyTorch.
    """
    measured = result.get("latency") or []
    return measured[-1] if measured else None


def _speed(result: Mapping[str, Any]) -> str:
    measured = latency_of_record(result)
    if measured is None:
        return ""
    factor = measured["speedup"]["factor"]
    if not measured["speedup"]["certain"]:
        return "speed unchanged"
    return faster(factor)
