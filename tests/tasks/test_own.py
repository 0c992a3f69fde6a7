"""Tasks of the user's own by name, and the first samples of any task."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from prunus import data
from prunus.errors import ConfigError, DataError
from prunus.tasks import Samples, Task, squared_error
from prunus.tasks.own import limited, named_task

MODULE = """
import torch
import torch.nn.functional as F
import prunus
from prunus.tasks import squared_error

def heights(seed=0, name="data"):
    pairs = [(torch.full((2, 1), float(seed)), torch.zeros(2, 1))]
    return prunus.Task(pairs, loss=F.mse_loss, metric=squared_error, name=name)

def nothing():
    pass
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "tasks_of_a_user.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("tasks_of_a_user", None)


@pytest.mark.usefixtures("place")
def test_a_function_gets_what_it_has_parameters_for_and_names_the_task() -> None:
    task = named_task("tasks_of_a_user:heights", {"seed": 3, "workers": 2})
    assert task.name == "tasks_of_a_user:heights" and float(task.train[0][0][0]) == 3  # type: ignore[index]
    assert named_task("tasks_of_a_user:heights", {"name": "mine"}).name == "mine"
    with pytest.raises(DataError, match=r"returned nothing: expected a prunus\.Task"):
        named_task("tasks_of_a_user:nothing")


def test_a_limit_draws_samples_and_takes_the_first_batches() -> None:
    digits = data.load("digits")
    task = limited(Task(digits.train, digits.test, normalise=digits.normalise), 30, seed=1)
    assert len(task.samples("train")) == 30 and task.test is None
    labels = torch.arange(100)
    samples = limited(
        Task(Samples(labels[:, None].float(), labels), loss=F.mse_loss, metric=squared_error), 7
    )
    assert isinstance(samples.train, Samples)
    chosen = samples.train.targets.tolist()
    assert len(chosen) == 7 and chosen == sorted(set(chosen)) and chosen != list(range(7))
    pairs = [(torch.zeros(4, 1), torch.zeros(4, 1))] * 5
    few = limited(Task(pairs, pairs, loss=F.mse_loss, metric=squared_error), 6)
    assert len(few.train) == len(list(few.train)) == 2  # type: ignore[arg-type]
    assert limited(few, 100).train is few.train
    with pytest.raises(ConfigError, match="to 1 sample at least, not to 0"):
        limited(few, 0)
