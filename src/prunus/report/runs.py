"""Several runs beside each other: from their results to points of accuracy against cost; nothing is measured
here.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from statistics import median
from typing import Any, Literal

from prunus._foundation.wording import short
from prunus.errors import ConfigError
from prunus.report import words
from prunus.report.html import subtitle
from prunus.report.metric import metric_of
from prunus.report.verdict import dense_accuracy

Result = Mapping[str, Any]
Quantity = Literal["macs", "latency_ms", "bytes"]


@dataclass(frozen=True)
class Point:
    """One network.

    Attributes:
        name: of the run, or of the network that runs began with.
        asked: what was asked for, in one line.
        accuracy: percent, on the test samples.
        macs: multiply-accumulates of one input.
        bytes: of its parameters.
        latency_ms: of one pass; None where it was not measured.
        original: it is what other runs began with.
    """

    name: str
    asked: str
    accuracy: float
    macs: float
    bytes: float
    latency_ms: float | None = None
    original: bool = False

    def cost(self, quantity: Quantity) -> float | None:
        """What it costs, where that is known."""
        return {"macs": self.macs, "latency_ms": self.latency_ms, "bytes": self.bytes}[quantity]


@dataclass(frozen=True)
class Runs:
    """Points that belong into one chart.

    Attributes:
        data: name of the data set.
        samples: test samples that all accuracies are of.
        points: originals first, then runs in their order.
        runtime: in which latencies were measured; "" where there are none.
        notes: what a reader should know.
    """

    data: str
    samples: int
    points: tuple[Point, ...]
    runtime: str
    notes: tuple[str, ...]

    def error(self) -> float:
        """One standard error of the best accuracy, in points."""
        share = max(point.accuracy for point in self.points) / 100
        return 100 * float((share * (1 - share) / self.samples) ** 0.5)

    def choice(self) -> Point:
        """The point with the fewest MACs among those within one standard error of the best accuracy."""
        lowest = max(point.accuracy for point in self.points) - self.error()
        return min(
            (point for point in self.points if point.accuracy >= lowest),
            key=lambda point: (point.macs, -point.accuracy),
        )

    def reference(self) -> Point:
        """What the others are compared with: the first original, or the point with the most MACs."""
        return next(
            (point for point in self.points if point.original), max(self.points, key=lambda point: point.macs)
        )

    def front(self, quantity: Quantity) -> tuple[Point, ...]:
        """Points that no other undercuts without losing accuracy, by increasing cost."""
        best: list[Point] = []
        known = [
            (cost, -point.accuracy, place)
            for place, point in enumerate(self.points)
            if (cost := point.cost(quantity)) is not None
        ]
        for _, _, place in sorted(known):
            point = self.points[place]
            twin = bool(best) and (point.accuracy, point.cost(quantity)) == (
                best[-1].accuracy,
                best[-1].cost(quantity),
            )
            if not best or point.accuracy > best[-1].accuracy or twin:
                best.append(point)
        return tuple(best)


def gather(runs: Mapping[str, Result]) -> Runs:
    """The points of several runs.

    Args:
        runs: name -> result as in `result.json`; of a training where nothing was removed, `cost` holds only
            "after".

    Raises:
        ConfigError: a run has no accuracy, or accuracies are of different samples.
    """
    data, samples = _samples(runs)
    runtime, times, notes = _times(runs)
    began = {name: _original(result) for name, result in runs.items()}
    # Each run was timed in turns with its original, but the runs at moments of their own, in which the
    # machine may have been another. So what is compared are the factors, and milliseconds are one figure for
    # the original, divided by them.
    references = {
        key: median(times[name][0] for name in times if _key(began[name], name) == key)
        for key in _keys(began, times)
    }
    made = {_place(_point(name, result)) for name, result in runs.items() if began[name] is not None}
    originals: dict[Hashable, Point] = {}
    for name, original in began.items():
        if (
            original is not None and _place(original) not in made | originals.keys()
        ):  # what a run began with may be what another made
            originals[_place(original)] = replace(original, latency_ms=references.get(_key(original, name)))
    points = []
    for name, result in runs.items():
        point = _point(name, result)
        if name in times:
            point = replace(point, latency_ms=references[_key(began[name], name)] / times[name][1])
        if _place(point) in originals and began[name] is None:  # the very training that others began with
            originals[_place(point)] = replace(originals[_place(point)], name=name, asked=point.asked)
        else:
            points.append(point)
    missing = [
        name
        for name in runs
        if runtime and name not in times and _place(_point(name, runs[name])) not in originals
    ]
    if missing:
        notes = (*notes, f"Latency was not measured of {', '.join(missing)}.")
    return Runs(data, samples, _apart([*originals.values(), *points]), runtime, notes)


def _samples(runs: Mapping[str, Result]) -> tuple[str, int]:
    """The data set and the number of test samples of all runs."""
    found = {}
    for name, result in runs.items():
        if not (result.get("accuracy") or {}).get("steps"):
            raise ConfigError(f"{name} has no accuracy to compare: it was made without --data.")
        if (metric := metric_of(result).name) != "accuracy":
            raise ConfigError(
                f"{name} was measured by {metric}, and a chart of runs is of accuracy: compare two models,"
                " with --data."
            )
        found[name] = (
            str((result["model"].get("data") or {}).get("name", "")),
            int(result["accuracy"]["count"]),
        )
    (first, (data, samples)), *others = found.items()
    for name, (other, count) in others:
        if (other, count) != (data, samples):
            raise ConfigError(
                f"{first} was tested on {samples:,} samples of {data} and {name} on {count:,} of {other}: "
                "accuracies on different samples do not belong into one chart."
            )
    return data, samples


def _point(name: str, result: Result) -> Point:
    """What a run ended with, without its latency."""
    after = result["cost"]["after"]
    asked = subtitle(result) if "target" in result else "Trained, and nothing removed"
    return Point(name, asked, float(result["accuracy"]["steps"][-1]["value"]), after["macs"], after["bytes"])


def _original(result: Result) -> Point | None:
    """What a run began with, without its latency; None where that was a state of the same training."""
    steps, before = result["accuracy"]["steps"], result["cost"].get("before")
    if before is None or len(steps) < 2 or dense_accuracy(steps) is None:
        return None
    name = PurePosixPath(words.network_name(result["model"]["name"])).name
    return Point(
        name,
        "What the runs began with",
        float(steps[0]["value"]),
        before["macs"],
        before["bytes"],
        original=True,
    )


def _place(point: Point) -> Hashable:
    """By which two records of one network are known as one."""
    return point.accuracy, point.macs, point.bytes


def _apart(points: Sequence[Point]) -> tuple[Point, ...]:
    """Names that differ: of an original that is called like a run, and of originals that are called alike."""
    runs, seen, found = {point.name for point in points if not point.original}, dict[str, int](), []
    for point in points:
        name = f"{point.name} (before)" if point.original and point.name in runs else point.name
        seen[name] = seen.get(name, 0) + 1
        found.append(replace(point, name=name if seen[name] == 1 else f"{name} {seen[name]}"))
    return tuple(found)


def _key(original: Point | None, name: str) -> Hashable:
    """What runs with one original have in common."""
    return _place(original) if original is not None else name


def _keys(began: Mapping[str, Point | None], times: Mapping[str, tuple[float, float]]) -> set[Hashable]:
    return {_key(began[name], name) for name in times}


def _times(runs: Mapping[str, Result]) -> tuple[str, dict[str, tuple[float, float]], tuple[str, ...]]:
    """The runtime nearest to deployment that all runs were timed in; the original's milliseconds and the
    speed-up of each; notes.
    """
    timed = {name: found for name, result in runs.items() if (found := _measured(result))}
    shared = [
        runtime
        for runtime in next(iter(timed.values()), {})
        if all(runtime in found for found in timed.values())
    ]
    if not shared:
        return "", {}, ("No runtime was measured in every run.",) if timed else ()
    runtime = shared[-1]
    first, *others = [(name, _conditions(runs[name], found[runtime])) for name, found in timed.items()]
    for name, conditions in others:
        if conditions != first[1]:
            note = (
                f"{first[0]} was timed on {words.machine(*first[1])} and {name} on"
                f" {words.machine(*conditions)}: latencies are not compared."
            )
            return "", {}, (note,)
    return (
        runtime,
        {name: (found[runtime]["before"], found[runtime]["factor"]) for name, found in timed.items()},
        (),
    )


def _measured(result: Result) -> dict[str, dict[str, Any]]:
    """Runtime -> milliseconds of the original, speed-up, batch and threads; deployment runtimes come last."""
    found = {
        row["runtime"]: {
            "before": _positive(row["before"]["median_ms"]),
            "factor": _positive(row["speedup"]["factor"]),
            "batch": row["batch"],
            "threads": row["threads"],
        }
        for row in result.get("latency") or []
    }
    for row in words.paired((result.get("dynamic") or {}).get("latency", [])):
        found[row["runtime"]] = {
            "before": _positive(row["before"]),
            "factor": _positive(row["before"] / row["after"]),
            "batch": 1,
            "threads": 1,
        }
    return found


def _positive(value: float) -> float:
    """A time, or the ratio of two. Raises ValueError for what is none, of a file that anybody may have
    written.
    """
    if not 0 < float(value) < math.inf:
        raise ValueError(f"{short(value)} is no time, nor the ratio of two")
    return float(value)


def _conditions(result: Result, measured: Mapping[str, Any]) -> tuple[str, Sequence[str], int, int]:
    """What latencies must have in common to be compared."""
    environment = result["environment"]
    return (
        environment["processor"] or environment["machine"],
        environment["cpu_flags"],
        measured["batch"],
        measured["threads"],
    )
