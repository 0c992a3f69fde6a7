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
