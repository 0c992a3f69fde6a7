"""What runs write and print is what `result.schema.json` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.brief import brief_latency, brief_search
from tests.report.json_schema import JUDGES, SCHEMA, SILENT, faults

from prunus import runs
from prunus.report.result import REQUIRED
from prunus.report.result import SCHEMA as VERSION
from prunus.runs import demonstration

__all__ = ["brief_latency", "brief_search"]
LEAN = runs.Delivery(onnx=False, report=False)
FEW = runs.Data("digits", limit=200)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `prunus prune` left."""
    folder = tmp_path_factory.mktemp("pruned")
    runs.prune("lenet5", folder, runs.PruneSettings(rate=0.5, epochs=1), FEW, delivery=LEAN)
    return folder


def written(folder: Path, name: str = "result.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def test_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnxruntime", "jinja2"):
        pytest.importorskip(package, reason="an extra is not installed")
    for name in ("TRAINING_EPOCHS", "TUNING_EPOCHS", "TRIAL_EPOCHS"):
        monkeypatch.setattr(demonstration, name, 1)
    runs.demo(tmp_path, tolerance=30.0)
    found = written(tmp_path)
    assert faults(found, "result") == []
    assert found["search"]["trials"] and found["latency"][1]["runtime"] == "ONNX Runtime" and found["onnx"]
    assert found["by_class"]["rows"] and found["examples"]["kind"] == "classes"


@pytest.mark.parametrize("method", ["none", "soft", "history", "dynamic", "importance"])
def test_a_training(method: str, tmp_path: Path) -> None:
    by_method: dict[str, dict[str, Any]] = {
        "history": {"rounds": 1, "pull_epochs": 1},
        "dynamic": {"budget": 0.9},
        "importance": {"tolerance": 50.0, "step": 0.5, "least_step": 0.5, "most": 1},
    }
    settings = by_method.get(method, {})
    recipe = runs.Recipe("digits", "lenet5", method=method, epochs=1, limit=300, settings=settings)
    runs.train(recipe, tmp_path, delivery=LEAN)
    if method == "none":
        assert faults(written(tmp_path, "training.json"), "training") == []
    else:
        assert faults(written(tmp_path), "result") == []


def test_a_file_in_8_bits(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    delivery = runs.Delivery(report=False, int8=runs.Quantisation(50.0, 0.6))
    runs.prune("lenet5", tmp_path, runs.PruneSettings(macs=0.5, epochs=1), FEW, delivery=delivery)
    found = written(tmp_path)
    assert faults(found, "result") == [] and len(found["int8"]["networks"]) == 3


def test_two_networks_beside_each_other(pruned: Path) -> None:
    assert faults(written(pruned), "result") == []
    found = runs.compare("lenet5", str(pruned), FEW, with_onnx=False)
    assert faults(found, "comparison") == [] and found["accuracy"]


def test_a_cascade(pruned: Path) -> None:
    found = runs.cascade([str(pruned), "lenet5"], FEW, runs.CascadeSettings(0.9))
    assert faults(found, "cascade") == [] and len(found["stage_macs"]) == 2


def test_what_is_wrong_is_found(pruned: Path) -> None:
    good = written(pruned)
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "a version of another time": (good | {"schema": 2}, "result.schema is 2, none of [1]"),
        "no cost": ({key: good[key] for key in good if key != "cost"}, "result lacks cost"),
        "a text for a number": (
            good | {"cost": good["cost"] | {"after": good["cost"]["after"] | {"macs": "few"}}},
            "result.cost.after.macs is 'few', no number",
        ),
        "a negative number": (
            good | {"cost": good["cost"] | {"before": good["cost"]["before"] | {"params": -1}}},
            "result.cost.before.params is -1, beyond 0",
        ),
        "an unknown target": (good | {"target": good["target"] | {"kind": "speed"}}, "result.target.kind"),
        "a note that is no text": (good | {"notes": [3]}, "result.notes[0] is 3, no string"),
        "a size that is none": (
            good | {"files": {"model": {"path": "a", "bytes": "many"}}},
            "result.files.model.bytes is 'many', no integer",
        ),
        "accuracy without steps": (
            good | {"accuracy": good["accuracy"] | {"steps": []}},
            "result.accuracy.steps has 0 entries",
        ),
    }
    for what, (bent, said) in cases.items():
        found = faults(bent, "result")
        assert len(found) == 1 and found[0].startswith(said), f"{what}: {found}"


def test_the_schema_asks_for_what_every_result_has() -> None:
    result = SCHEMA["$defs"]["result"]
    assert set(REQUIRED) == set(result["required"])
    assert result["properties"]["schema"]["const"] == VERSION


def test_every_word_of_the_schema_is_judged() -> None:
    def words(schema: Any) -> set[str]:
        inner = [schema[word] for word in ("items", "additionalProperties") if word in schema]
        named = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
        return set(schema).union(*map(words, [*inner, *named, *schema.get("anyOf", [])]))

    assert words(SCHEMA) <= {*JUDGES, *SILENT}
    assert all(one["$ref"].removeprefix("#/$defs/") in SCHEMA["$defs"] for one in SCHEMA["anyOf"])
