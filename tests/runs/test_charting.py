"""What runs recorded, gathered from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prunus import runs
from prunus.errors import ConfigError, FileFormatError


def test_a_folder_of_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not the folder of a run: it holds neither result\.json nor"):
        runs.chart([tmp_path, tmp_path])


def test_a_record_that_holds_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(FileFormatError, match=str(tmp_path)):
        runs.chart([tmp_path])


WHOLE: dict[str, Any] = {
    "schema": 1,
    "command": "prunus prune",
    "created": "now",
    "environment": {
        "processor": "one",
        "machine": "x86_64",
        "system": "Linux",
        "python": "3.11",
        "cores": 2,
        "cpu_flags": ["avx"],
        "versions": {"torch": "2"},
    },
    "model": {"name": "lenet5", "data": {"name": "digits"}},
    "target": {"text": "lose half", "kind": "rate", "value": 0.5, "scope": "uniform", "score": "norm-l2"},
    "cost": {"before": {"macs": 20, "bytes": 20}, "after": {"macs": 10, "bytes": 10}},
    "layers": [],
    "verification": {},
    "accuracy": {
        "count": 100,
        "steps": [{"step": "before", "value": 90.0}, {"step": "after", "value": 89.0}],
    },
}


@pytest.mark.parametrize(
    "environment", [{}, {"versions": []}, {"cpu_flags": [1]}, {"system": None, "versions": "x"}, []]
)
def test_an_environment_that_no_run_writes_is_named(environment: Any, tmp_path: Path) -> None:
    """It was an AttributeError or a KeyError of the page, after the charts had been drawn."""
    held = {**WHOLE["environment"], **environment} if environment else environment
    for name, found in (("a", WHOLE), ("b", WHOLE | {"environment": held})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(found))
    with pytest.raises(FileFormatError, match=rf"The record in {tmp_path / 'b'} lacks"):
        runs.chart([tmp_path / "a", tmp_path / "b"], tmp_path / "page.html")
    assert len(runs.chart([tmp_path / "a"]).points) == 2


@pytest.mark.parametrize("factor", [None, 0, -1, [], 10**400, "fast"])
def test_a_time_that_is_none_is_named(factor: Any, tmp_path: Path) -> None:
    """One that the chart of its run alone does not show too, as there another runtime is nearer to use."""
    row = {"before": {"median_ms": 1.0}, "batch": 1, "threads": 1}
    rows = [row | {"runtime": name, "speedup": {"factor": 2.0}} for name in ("torch", "onnxruntime")]
    for name, found in (("a", rows[:1]), ("b", [rows[0] | {"speedup": {"factor": factor}}, rows[1]])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(WHOLE | {"latency": found}))
    with pytest.raises(FileFormatError, match=rf"The record in {tmp_path / 'b'} lacks what a chart needs"):
        runs.chart([tmp_path / "a", tmp_path / "b"])


def test_records_that_only_together_make_no_chart_are_told(tmp_path: Path) -> None:
    row = {"runtime": "torch", "before": {"median_ms": 1.0}, "speedup": {"factor": 2.0}, "threads": 1}
    for name, batch in (("a", 1), ("b", None)):
        (tmp_path / name).mkdir()
        found = WHOLE | {"latency": [row | {"batch": batch}]}
        (tmp_path / name / "result.json").write_text(
            json.dumps(found | {"environment": WHOLE["environment"] | {"cpu_flags": batch or [None]}})
        )
    with pytest.raises(FileFormatError, match=r"records? .*lacks? what a chart"):
        runs.chart([tmp_path / "a", tmp_path / "b"])
