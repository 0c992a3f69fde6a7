"""What the documentation names has a door: its arguments are checked before anything is done with them."""

from __future__ import annotations

import copy
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import prunus
from prunus.data.picture_sets import load_pictures
from prunus.deploy.onnx import export
from prunus.errors import PrunusError
from prunus.measure.runtimes import time_models
from prunus.measure.timing import measure, measure_onnx
from prunus.methods.sensitivity import sensitivity_of
from prunus.scores.importance import ImportanceWeights
from prunus.tasks import Task
from tests.right_calls import world
from tests.test_bad_calls import bad_values, complaint

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.py")),
]
OWN = {  # which look at their arguments themselves, and say what is wrong in the words of their trade
    "prunus.core",
    "prunus.tasks.squared_error",
    "prunus.training.track",
}
RESULTS = {"ChannelGraph", "Example", "Loaded", "Outcome", "Plan", "Rows"}  # which functions give


def documented() -> Iterator[tuple[str, Any]]:
    """Functions and classes by the names that pages have for them."""
    names: set[str] = set()
    for page in PAGES:
        text = page.read_text()
        names |= set(re.findall(r"\bprunus(?:\.\w+)+", text))
        for room, listed in re.findall(r"from (prunus[\w.]*) import ([\w, ]+|\([\w, \n]+\))", text):
            names |= {f"{room}.{name}" for name in re.findall(r"\w+", listed)}
    for name in sorted(names):
        try:
            yield name, found(name)
        except AttributeError:  # files, keys and options
            continue


def found(name: str) -> Any:
    """What a dotted name means."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            value = getattr(value, part)
        return value
    raise AttributeError(name)


def test_every_documented_function_has_a_door() -> None:
    functions = [
        (name, value)
        for name, value in documented()
        if inspect.isfunction(value) and value.__module__.startswith("prunus")
    ]
    assert len(functions) > 80
    assert [name for name, value in functions if not hasattr(value, "__wrapped__") and name not in OWN] == []


def test_every_documented_setting_is_checked() -> None:
    """Data classes that are made by others than prunus' own functions."""
    made = [
        (name, value)
        for name, value in documented()
        if inspect.isclass(value) and is_dataclass(value) and value.__module__.startswith("prunus")
    ]
    bare = [name.rpartition(".")[2] for name, value in made if not hasattr(value, "__post_init__")]
    assert set(bare) <= RESULTS


def calls(folder: Path) -> dict[Callable[..., Any], dict[str, Any]]:
    """Right arguments of what rooms without a list of names offer."""
    w = world()
    model, images = w["model"], w["images"]
    pairs = [(images, w["labels"])]
    return {
        export: {"model": model, "example_inputs": images, "path": folder / "a.onnx"},
        time_models: {"models": {"a": model}, "example_inputs": images, "repeats": 1, "limit_s": 0.01},
        measure: {"models": {"a": model}, "example_inputs": images, "repeats": 1, "limit_s": 0.01},
        measure_onnx: {"files": {"a": Path("B.onnx")}, "example_inputs": images},
        sensitivity_of: {"task": Task(pairs, pairs, pairs), "graph": w["graph"], "scores": w["scores"]},
        load_pictures: {"root": folder},
        ImportanceWeights: {"model": copy.deepcopy(model), "graph": w["graph"], "start": "ones", "seed": 0},
    }


@pytest.mark.parametrize("function", list(calls(Path())), ids=lambda one: one.__name__)
def test_a_bad_call_gives_a_result_or_a_sentence(
    function: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = []
    for argument, right in calls(tmp_path)[function].items():
        for kind, value in bad_values().items():
            words = complaint(function, calls(tmp_path)[function] | {argument: value}, argument)
            if words and not (callable(right) and kind in ("model", "function")):
                wrong.append(f"{argument}={kind}: {words}")
    assert not wrong, "\n".join(wrong)


def test_inputs_of_another_shape_are_told_before_they_are_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    with pytest.raises(PrunusError, match=r"forward of Sequential fails on inputs of shape \(1, 3, 8, 8\)"):
        export(world()["model"], torch.zeros(1, 3, 8, 8), tmp_path / "a.onnx")
    with pytest.raises(PrunusError, match="on the meta device"):
        export(prunus.models.lenet5().to("meta"), torch.zeros(1, 1, 28, 28), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []
