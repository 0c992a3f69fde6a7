"""Numbers as people read them, and the verdict in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

MINUS = "\u2212"
SPACE = "\u202f"  # narrow and unbreakable, between a number and its unit
TOP_1 = "top-1 accuracy"
DENSE = "before"  # the step of a run at which the dense network is measured
FIXED = "\u00a0"  # an unbreakable space between words
HYPHEN = "\u2011"  # where no line breaks, either
LEAST_PLAIN = 1e-6  # below that, numbers are written with their power of ten
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


# What runtimes are called by those who made them.
RUNTIMES = {"onnxruntime": "ONNX Runtime", "torch": "PyTorch"}


def count(number: float) -> str:
    """Three significant digits with k, M or G: 123, 45.6 k, 1.23 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit * 0.9995:
            return f"{significant(number / (1e3 if unit == 'k' else limit))}{SPACE}{unit}"
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Bytes in decimal units: 999 B, 45.6 kB, 1.23 MB."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(number) >= limit * 0.9995:
            return f"{significant(number / limit)}{SPACE}{unit}"
    return f"{number:.0f}{SPACE}B"


def milliseconds(number: float) -> str:
    """Three significant digits: 0.0532 ms, 12.3 ms."""
    return f"{significant(number)}{SPACE}ms"


def significant(number: float, digits: int = 3) -> str:
    """A plain decimal number with so many significant digits, never an exponent."""
    if number == 0:
        return "0"
    rounded = float(f"{number:.{digits - 1}e}")
    exponent = int(f"{rounded:e}".split("e")[1])
    return f"{number:,.{max(0, digits - 1 - exponent)}f}"


def times(before: float, after: float) -> str:
    """How many times smaller `after` is: 2.0×; "–" where there is nothing to divide by."""
    if not before or not after:
        return "–"
    factor = before / after
    return f"{factor:.2f}×" if factor < 1.95 else f"{factor:.1f}×" if factor < 99.5 else f"{factor:.0f}×"


def faster(factor: float) -> str:
    """A speed-up: 2.0× faster, 1.10× slower."""
    return f"{times(factor, 1)} faster" if factor > 1 else f"{times(1, factor)} slower"


def points(difference: float) -> str:
    """A signed difference of percentages: +0.3, −1.2, ±0.0."""
    text = f"{abs(difference):.1f}"
    if text == "0.0":
        return "±0.0"
    return ("+" if difference > 0 else MINUS) + text


def percent(fraction: float) -> str:
    """A fraction of one as a percentage: 49.8 %."""
    return f"{100 * fraction:.1f}{SPACE}%"


def error(number: float) -> str:
    """A tiny error with its power of ten: 2.1 × 10⁻⁷, or 0."""
    if not number:
        return "0"
    digits, exponent = f"{number:.1e}".split("e")
    return f"{digits}{SPACE}×{SPACE}10{str(int(exponent)).translate(SUPERSCRIPT)}"


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


_MUCH_LEFT = 0.9  # of the MACs: whoever removes less expects no speed


def _listed(ways: Sequence[str]) -> str:
    return f"{', '.join(ways[:-1])}, and {ways[-1]}" if len(ways) > 2 else " and ".join(ways)


def dense_accuracy(steps: Sequence[Mapping[str, Any]]) -> float | None:
    """Accuracy [percent] of the dense network; None where the first that was measured was pruned while it was
    trained.
    """
    return float(steps[0]["value"]) if steps and steps[0]["step"] == DENSE else None


def _accuracy_of(result: Mapping[str, Any]) -> str:
    """What became of the accuracy: against the dense network, and without one no change is claimed."""
    steps = (result.get("accuracy") or {}).get("steps", [])
    if not steps:
        return "accuracy not measured"
    name = metric_name(result)
    before = dense_accuracy(steps)
    if before is None:
        return f"{name} {of_metric(steps[-1]['value'], result)} (no dense network was trained)"
    if len(steps) < 2:
        return ""
    change = metric_change(before, steps[-1]["value"], result)
    return f"{name} {'unchanged' if change.startswith('±') else change}"


def in_percent(result: Mapping[str, Any]) -> bool:
    """Whether the metric of a result is in percent; that of a function of the user's has the user's unit."""
    return metric_name(result) == "accuracy" or str(result["accuracy"]["metric"]).endswith(", percent")


def of_metric(value: float, result: Mapping[str, Any]) -> str:
    """A number of the metric of a result: 71.2 %, or with the digits that say something: −0.00123."""
    return f"{figure(value, result)}{SPACE}%" if in_percent(result) else number(value)


def figure(value: float, result: Mapping[str, Any]) -> str:
    """The same without a unit."""
    return f"{value:.1f}" if in_percent(result) else number(value)


def metric_change(before: float, after: float, result: Mapping[str, Any]) -> str:
    """From one number of the metric to another: +0.3 points, or in its own unit +0.00123; ±0 for nothing."""
    if in_percent(result):
        return f"{points(after - before)} points"
    if number(before) == number(after):
        return "±0"
    return f"{'+' if after > before else ''}{number(after - before)}"


def number(value: float) -> str:
    """A number of any size, three significant digits of what is small, and a real minus: −0.00123, 45,612."""
    if not math.isfinite(value):
        return f"{value:.1f}"
    small = 0 < abs(value) < LEAST_PLAIN
    text = f"{value:.1e}" if small or abs(value) >= 1 / LEAST_PLAIN else significant(value)
    return text.replace("-", MINUS, 1) if value < 0 else text


def short(value: float, decimals: int = 2) -> str:
    """A number whose unit is not known: so many decimals, below one three significant digits."""
    return f"{value:.{decimals}f}" if abs(value) >= 1 or not value else number(value)


def metric_title(result: Mapping[str, Any]) -> str:
    """The same at the beginning of a line."""
    return title(metric_name(result))


def title(text: str) -> str:
    """A word or a few at the beginning of a line."""
    return text if text[1:2].isupper() else f"{text[:1].upper()}{text[1:]}"  # mAP stays


def metric_name(result: Mapping[str, Any]) -> str:
    """What the metric of a result is called in a sentence."""
    name = str((result.get("accuracy") or {}).get("metric", TOP_1)).removesuffix(", percent")
    return "accuracy" if name == TOP_1 else name


def int8_metric(panel: Mapping[str, Any], title: bool = False) -> str:
    """What the metric of a quantisation is called, in a sentence or at the beginning of a line."""
    result = {"accuracy": {"metric": str(panel.get("metric", TOP_1))}}
    return metric_title(result) if title else metric_name(result)


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
        _accuracy(after["accuracy"] - before["accuracy"], int8_metric(panel)),
    ]


def _accuracy(change: float, name: str = "accuracy") -> str:
    difference = points(change)
    return f"{name} unchanged" if difference == "±0.0" else f"{name} {difference} points"


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(unbroken(part) for part in parts if part)


LONGEST = 22  # letters of a headline that stay on one line of a phone


def unbroken(text: str) -> str:
    """A few words that no line breaks between, unless a phone has not so wide a line."""
    return text.replace(" ", FIXED).replace("-", HYPHEN) if len(text) <= LONGEST else text


def machine(processor: str, flags: Sequence[str], batch: int, threads: int) -> str:
    """What a latency was measured on."""
    return (
        f"{processor} ({' '.join(flags)}) with batches of {batch} and {threads}"
        f" thread{'s' if threads != 1 else ''}"
    )


def paired(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Median latency [ms] per runtime, of a network with all channels and with gates."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row["runtime"], {"runtime": row["runtime"]})[
            "after" if row["network"] == "with gates" else "before"
        ] = row["p50"]
    return list(found.values())


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
