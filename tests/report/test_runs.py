"""Several runs in one chart: which figures are compared, and the front."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.report.conftest import lenet_result, measured

from prunus.errors import ConfigError
from prunus.report.runs import Point, Runs, gather

pytest.importorskip("jinja2", reason="the extra report is not installed")
pytest.importorskip("matplotlib", reason="the extra report is not installed")


def run(accuracy: float, macs: int, before: float = 0.03, after: float = 0.01) -> dict[str, Any]:
    """A result of LeNet-5 with other figures at its end."""
    result = copy.deepcopy(lenet_result())
    result["accuracy"]["steps"][-1]["value"] = accuracy
    result["cost"]["after"] |= {"macs": macs, "bytes": macs // 2}
    result["latency"] = [measured("PyTorch", 0.1, 0.09), measured("ONNX Runtime", before, after)]
    return result


def trained(accuracy: float = 98.6) -> dict[str, Any]:
    """A training where nothing was removed."""
    result = lenet_result()
    steps = [{"step": "trained", "value": accuracy}]
    return {
        "command": "prunus train",
        "model": result["model"],
        "accuracy": {"count": 366, "steps": steps},
        "cost": {"after": result["cost"]["before"]},
    }


def slow_front(points: list[tuple[float, float]]) -> set[tuple[float, float]]:
    """Points (cost, accuracy) that no other beats in one without losing the other, by trying all pairs."""

    def beaten(a: tuple[float, float]) -> bool:
        return any(b[0] <= a[0] and b[1] >= a[1] and b != a for b in points)

    return {one for one in points if not beaten(one)}


@pytest.mark.parametrize(
    "points",
    [
        [(1.0, 90.0)],
        [(1.0, 90.0), (2.0, 95.0), (3.0, 94.0), (4.0, 96.0), (0.5, 80.0)],
        [(1.0, 90.0), (1.0, 91.0), (2.0, 91.0), (2.0, 92.0)],
        [(3.0, 90.0), (2.0, 95.0), (1.0, 99.0)],
    ],
)
def test_the_front_is_what_no_other_beats(points: list[tuple[float, float]]) -> None:
    runs = Runs(
        "digits",
        100,
        tuple(Point(str(place), "", acc, cost, cost) for place, (cost, acc) in enumerate(points)),
        "",
        (),
    )
    found = [(point.macs, point.accuracy) for point in runs.front("macs")]
    assert set(found) == slow_front(points)
    assert found == sorted(found)
    assert runs.front("latency_ms") == ()


def test_twins_are_both_on_the_front() -> None:
    runs = Runs("digits", 100, (Point("a", "", 90.0, 1, 1), Point("b", "", 90.0, 1, 1)), "", ())
    assert [point.name for point in runs.front("macs")] == ["a", "b"]


def test_latencies_are_those_of_one_original_divided_by_each_runs_speedup() -> None:
    """The second run was made while the machine was three times slower."""
    found = gather({"quick": run(98.0, 300_000, 0.03, 0.015), "slow": run(97.0, 200_000, 0.09, 0.03)})
    times = {point.name: point.latency_ms for point in found.points}
    assert found.runtime == "ONNX Runtime"
    assert times["lenet5"] == pytest.approx(0.06)
    assert times["quick"] == pytest.approx(0.06 / 2) and times["slow"] == pytest.approx(0.06 / 3)
    assert [point.original for point in found.points] == [True, False, False]


def test_the_choice_is_within_one_standard_error() -> None:
    found = gather({"a": run(98.9, 300_000), "b": run(98.5, 200_000), "c": run(98.2, 100_000)})
    assert found.error() == pytest.approx(100 * (0.989 * 0.011 / 366) ** 0.5)
    assert found.choice().name == "b"


def test_a_training_is_known_as_what_others_began_with() -> None:
    found = gather({"dense": trained(), "small": run(98.0, 200_000)})
    assert [(point.name, point.original) for point in found.points] == [("dense", True), ("small", False)]
    assert found.points[0].latency_ms is not None and found.notes == ()


def test_another_training_has_no_latency() -> None:
    found = gather({"other": trained(97.0), "small": run(98.0, 200_000)})
    assert [(point.name, point.latency_ms is None) for point in found.points] == [
        ("lenet5", False),
        ("other", True),
        ("small", False),
    ]
    assert found.notes == ("Latency was not measured of other.",)


def test_a_run_that_began_with_anothers_result_adds_one_point() -> None:
    first, second = run(98.0, 300_000), run(97.0, 200_000)
    second["accuracy"]["steps"][0]["value"] = 98.0
    second["cost"]["before"] = first["cost"]["after"]
    found = gather({"first": first, "second": second})
    assert [(point.name, point.original) for point in found.points] == [
        ("lenet5", True),
        ("first", False),
        ("second", False),
    ]


def test_names_differ() -> None:
    other = run(98.0, 100_000)
    other["accuracy"]["steps"][0]["value"] = 97.0
    found = gather({"lenet5": run(98.0, 200_000), "other": other})
    assert [point.name for point in found.points] == [
        "lenet5 (before)",
        "lenet5 (before) 2",
        "lenet5",
        "other",
    ]


def test_soft_pruning_begins_with_nothing() -> None:
    soft = run(98.0, 200_000)
    soft["accuracy"]["steps"][0]["step"] = "pruned softly"
    found = gather({"soft": soft})
    assert [point.name for point in found.points] == ["soft"]
    assert found.points[0].latency_ms == pytest.approx(0.01)


def test_gates_have_their_own_measurements() -> None:
    panel = [
        {"runtime": "ONNX Runtime", "network": name, "p50": p50, "p95": 1.0}
        for name, p50 in (("all channels", 0.04), ("with gates", 0.02))
    ]
    gated = run(98.0, 200_000) | {"latency": [], "dynamic": {"latency": panel}}
    assert {point.name: point.latency_ms for point in gather({"gated": gated}).points} == pytest.approx(
        {"lenet5": 0.04, "gated": 0.02}
    )


def test_runs_on_other_data_are_no_chart(resnet: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError,
        match=(
            r"a was tested on 366 samples of digits and b on 10,000 of cifar10: .* do not belong into one"
            r" chart\.$"
        ),
    ):
        gather({"a": run(98.0, 1), "b": resnet})


def test_runs_without_accuracy_are_no_chart() -> None:
    with pytest.raises(ConfigError, match="b has no accuracy"):
        gather({"a": run(98.0, 1), "b": run(98.0, 1) | {"accuracy": None}})


def test_latencies_of_other_machines_are_not_compared() -> None:
    other = run(98.0, 200_000)
    other["environment"] = other["environment"] | {"processor": "Another Processor"}
    found = gather({"a": run(97.0, 100_000), "b": other})
    assert found.runtime == "" and all(point.latency_ms is None for point in found.points)
    assert "b on Another Processor" in found.notes[0] and "not compared" in found.notes[0]


def test_only_a_runtime_of_all_runs_is_compared() -> None:
    eager = run(98.0, 200_000)
    eager["latency"] = eager["latency"][:1]
    assert gather({"a": run(97.0, 100_000), "b": eager}).runtime == "PyTorch"
