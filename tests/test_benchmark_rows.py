"""Rows of benchmarks say how they were measured, each for itself, and pages are made of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import rows as kept_rows
from benchmarks import stages
from benchmarks.environment import RESULTS, describe, save
from benchmarks.pages import PAGES, file
from benchmarks.rows import ALL, UNKNOWN, add, complete, kept, page, record, signed, unrecorded, write

FILES = sorted(RESULTS.glob("*.json"))


def every_row(path: Path) -> list[dict[str, Any]]:
    result = json.loads(path.read_text())
    return [*result["rows"], *(one for name, one in result.items() if name not in ("rows", "done"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_row_carries_its_own_records_and_the_file_none(path: Path) -> None:
    assert not {"command", "environment"} & set(json.loads(path.read_text()))
    for row in every_row(path):
        assert row["measured"], row
        for how in row["measured"].values():
            assert {"command", "environment", "device", "seed", "date"} <= set(how) and {
                "processor",
                "versions",
            } <= set(how["environment"])
            assert how["command"] == UNKNOWN or how["command"].startswith("python -m benchmarks.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_that_a_gpu_computed_stands_under_a_processor_alone(path: Path) -> None:
    for row in every_row(path):
        for how in row["measured"].values():
            assert how["device"] in ("cpu", UNKNOWN) or how["environment"]["accelerator"]
        if row.get("device") == "cuda":
            assert any(how["device"] == "cuda" for how in row["measured"].values())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_rows_give(name: str) -> None:
    assert file(name).read_text() == PAGES[name](kept(RESULTS / f"{name}.json"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_without_rows_says_so(name: str) -> None:
    assert PAGES[name]({"rows": []}).endswith("\n\nNothing has been measured yet.\n")


def test_a_row_that_is_added_changes_no_record_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, found = tmp_path / "rows.json", kept(tmp_path / "rows.json")
    for number, flag in enumerate(("--first", "--second")):
        monkeypatch.setattr("sys.argv", ["benchmark", flag])
        add(path, found, {"number": number}, record("benchmarks.some", seed=number))
    commands = [row["measured"][ALL]["command"] for row in kept(path)["rows"]]
    assert commands == ["python -m benchmarks.some --first", "python -m benchmarks.some --second"]
    assert [row["measured"][ALL]["seed"] for row in kept(path)["rows"]] == [0, 1]


def test_a_part_that_is_measured_later_has_a_record_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, found = tmp_path / "rows.json", kept(tmp_path / "rows.json")
    monkeypatch.setattr("sys.argv", ["benchmark", "accuracy"])
    add(path, found, {"accuracy": 90.0}, record("benchmarks.some"), "accuracy")
    monkeypatch.setattr("sys.argv", ["benchmark", "latency"])
    complete(path, found, found["rows"][0], "latency", 1.5, record("benchmarks.some"))
    (row,) = kept(path)["rows"]
    assert row["accuracy"] == 90.0 and row["latency"] == 1.5
    assert {part: how["command"].split()[-1] for part, how in row["measured"].items()} == {
        "accuracy": "accuracy",
        "latency": "latency",
    }


def test_rows_written_meanwhile_stay(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    mine = kept(path)
    add(path, kept(path), {"name": "theirs"}, record("benchmarks.some"))
    add(path, mine, {"name": "mine"}, record("benchmarks.some"))
    assert [row["name"] for row in kept(path)["rows"]] == ["theirs", "mine"]


def test_a_record_of_a_gpu_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a large one")
    assert describe(device="cuda")["accelerator"] == "a large one" and "accelerator" not in describe()
    assert record("benchmarks.some", device="cuda")["device"] == "cuda"


def test_a_network_takes_the_record_of_its_training_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = argparse.Namespace(models=tmp_path, network="resnet20", seed=3)
    monkeypatch.setattr("sys.argv", ["benchmark", "train"])
    stages.sign(options, "0.5", device="cpu")
    monkeypatch.setattr("sys.argv", ["benchmark", "accuracy"])
    found = stages.trainings(options, ["0.5", stages.DENSE])["measured"]
    assert found["training of 0.5"]["command"].endswith(" train") and found["training of 0.5"]["seed"] == 3
    assert found["training of dense"] == unrecorded(3)
    row = signed({"measured": found}, record("benchmarks.some"), "accuracy")
    assert set(row["measured"]) == {"training of 0.5", "training of dense", "accuracy"}


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    tricky = {
        "name": '"\\0',
        "measured": {ALL: record("benchmarks.some") | {"note": "\0" + "1\0"}, "latency": unrecorded(None)},
    }
    result = {
        "rows": [tricky, {"nested": [{"measured": {"a": {"b": [1, 2]}}}], "measured": {}}],
        "large": tricky,
    }
    save(tmp_path / "rows.json", result)
    assert json.loads((tmp_path / "rows.json").read_text()) == result
    write(tmp_path / "anew.json", [tricky])
    assert kept(tmp_path / "anew.json") == {"rows": [tricky]}


def test_a_page_names_each_command_once_with_machine_days_and_rows() -> None:
    how = {
        "command": "python -m benchmarks.some",
        "environment": {"processor": "P", "versions": {"torch": "2"}},
        "device": "cpu",
        "seed": 0,
    }
    rows = [
        {"name": name, "measured": {"latency": how | {"date": day}}}
        for name, day in (("a", "2026-01-01"), ("b", "2026-01-02"))
    ]
    rows.append({"name": "c", "measured": {ALL: unrecorded(0)}})
    text = page("Title", rows, "About.", lambda: ["| table |"], lambda row: row["name"])
    assert text.startswith("# Title\n\nAbout.\n\n| table |\n\n## How it was measured\n")
    assert "P; torch 2:\n\n* `python -m benchmarks.some` (2026-01-01, 2026-01-02): latency of a; b\n" in text
    assert text.endswith(f"processor {UNKNOWN}:\n\n* command {UNKNOWN} ({UNKNOWN}): c\n")
    many = [{"name": str(number), "measured": {ALL: unrecorded(0)}} for number in range(kept_rows.NAMED + 1)]
    assert page("Title", many, "", list, lambda row: row["name"]).endswith(f": {len(many)} rows\n")
