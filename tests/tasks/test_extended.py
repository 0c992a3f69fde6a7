"""Tasks of other packages, by their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.packages import Package, package
from typer.testing import CliRunner

from prunus.cli.app import app
from prunus.errors import ConfigError, DataError
from prunus.runs.data import Data, is_own, read_data
from prunus.tasks import named_task

__all__ = ["package"]

SOURCE = """
import torch
import prunus

def cells(seed=0, limit=8):
    x = torch.randn(limit, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    batches = [(x, x.mean((1, 2, 3)).gt(0).long())]
    return prunus.Task(train=batches, validation=batches, test=batches)

def nothing():
    return None
"""


@pytest.fixture(autouse=True)
def mine(package: Package) -> None:
    """A package with tasks."""
    package("my-tasks", SOURCE, tasks="cells = my_tasks:cells\nnone = my_tasks:nothing\ngone = my_tasks:gone")


def test_a_task_is_made_by_the_name_that_a_package_adds() -> None:
    task = named_task("cells", {"seed": 3, "limit": 4, "workers": 2})
    assert task.name == "cells" and len(task.train[0][0]) == 4  # type: ignore[index]


def test_data_of_that_name_are_such_a_task() -> None:
    source = read_data(Data("cells", limit=6))
    assert source.own is not None and source.own.name == "cells"
    with pytest.raises(ConfigError, match="give the function a parameter batch_size"):
        read_data(Data("cells", batch_size=2))


def test_what_is_here_under_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_own("cells") and not is_own("digits") and not is_own("cells2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells").mkdir()
    assert not is_own("cells")


def test_a_broken_one_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="The task 'gone' of the package my-tasks cannot be imported"):
        named_task("gone")
    with pytest.raises(DataError, match=r"'none' returned nothing: expected a prunus\.Task"):
        named_task("none")


def test_the_command_takes_it(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    line = [
        "prune",
        "lenet5",
        "--data",
        "cells",
        "--rate",
        "0.5",
        "--no-onnx",
        "--no-report",
        "--json",
        "-o",
        out,
    ]
    result = CliRunner().invoke(app, line, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"]["data"]["name"] == "cells"
    line[line.index("cells")] = "gone"
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 1 and "of the package my-tasks cannot be imported" in result.stderr
