"""All jobs, called with arguments of another kind than they take."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from prunus import runs
from prunus.errors import ConfigError

JOBS: dict[Any, dict[str, Any]] = {
    runs.prune: {"model": "lenet5", "folder": "out", "settings": runs.PruneSettings(rate=0.5), "data": None},
    runs.train: {"recipe": runs.Recipe("digits", "lenet5"), "folder": "out"},
    runs.cascade: {"models": ["lenet5"], "data": "digits", "settings": runs.CascadeSettings(0.5)},
    runs.latency: {"models": ["lenet5"], "settings": None, "data": None},
    runs.segment: {"picture": "picture.png", "model": "unet", "output": None},
    runs.segment_set: {"data": "pictures", "model": "unet", "folder": None},
    runs.export: {"model": "lenet5", "output": "lenet5.onnx", "settings": runs.ExportSettings()},
    runs.profile: {"model": "lenet5"},
    runs.compare: {"first": "lenet5", "second": "lenet5", "data": None},
    runs.chart: {"folders": ["a", "b"], "page": None},
    runs.demo: {"folder": "out"},
}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_an_argument_of_another_kind_is_named(
    job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in inspect.signature(job).parameters:
        with pytest.raises(ConfigError, match=rf"^{name} must be .*, not .*\.$"):
            job(**JOBS[job] | {name: object()})
    assert not list(tmp_path.iterdir())
