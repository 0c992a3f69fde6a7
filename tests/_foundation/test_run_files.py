"""The names of what a run leaves in its folder."""

from __future__ import annotations

from pathlib import Path

from prunus._foundation import run_files


def test_the_names_are_plain_ones_of_files_in_one_folder() -> None:
    assert {*run_files.INDEX} < {*run_files.FILES} < run_files.OF_RUNS
    assert {*run_files.PROGRESS} < run_files.OF_RUNS and run_files.KEPT in run_files.PROGRESS
    assert all(Path(name).name == name and not name.startswith(".") for name in run_files.OF_RUNS)
    assert Path("kept/epoch-0001.npy").match(run_files.OF_EPOCHS)
