"""Where a training is: means over its samples, and a state that comes back whole."""

from __future__ import annotations

import json

import pytest
import torch

from prunus.training import EpochRecord, History, TrainConfig
from prunus.training.progress import Progress


def begun(seed: int = 0) -> Progress:
    progress = Progress(torch.Generator().manual_seed(seed), torch.device("cpu"))
    progress.begin_epoch(torch.arange(5), None, 0.5)
    progress.add(3, 6.0, 2)
    progress.add(2, 1.0, 2)
    return progress


def test_an_epoch_is_the_means_of_its_samples() -> None:
    progress = begun()
    progress.end_epoch(90.0, 0.3, 0.1, 2.0, 0)
    assert progress.records == [
        EpochRecord(1, 7 / 5, 80.0, 90.0, 0.1, 2.0, validation_loss=0.3, samples=5, choosing_seconds=0.5)
    ]
    assert progress.epoch == 1 and progress.order is None


def test_one_step_without_classes_leaves_the_epoch_without_accuracy() -> None:
    progress = begun()
    progress.add(1, 0.0, None)
    progress.add(1, 0.0, 1)
    progress.end_epoch(None, None, 0.1, 2.0, 0)
    assert progress.records[0].accuracy is None and progress.records[0].samples == 7


def test_a_state_comes_back_with_the_random_numbers() -> None:
    progress = begun()
    progress.end_epoch(90.0, 0.3, 0.1, 2.0, 0)
    progress.begin_epoch(torch.tensor([4, 1]), torch.ones(2), 0.0)
    progress.add(1, 2.0, 0)
    torch.manual_seed(5)
    state = progress.state()
    own, everybody = torch.rand(3, generator=progress.generator), torch.rand(3)
    again = Progress(torch.Generator(), torch.device("cpu"))
    again.restore(state)
    assert again.records == progress.records and (again.epoch, again.seen, again.correct) == (1, 1, 0)
    assert again.order is not None and again.order.tolist() == [4, 1]
    assert torch.equal(torch.rand(3, generator=again.generator), own) and torch.equal(
        torch.rand(3), everybody
    )


@pytest.mark.parametrize(
    "change",
    [
        {"records": [{"epoch": 1}]},
        {"random": {}},
        {"records": 3},
        {"epoch": "1"},
        {"epoch": -1},
        {"step": None},
        {"order": 3},
        {"choosing_seconds": []},
    ],
)
def test_a_state_of_something_else_is_refused(change: dict[str, object]) -> None:
    """By errors that the training tells with the name of the file."""
    with pytest.raises((LookupError, TypeError, ValueError)):
        begun().restore(begun().state() | change)
    with pytest.raises(LookupError):
        begun().restore({})


def test_a_history_is_ready_for_json() -> None:
    history = History(
        TrainConfig(epochs=1, milestones=(0.5,)), (EpochRecord(1, 0.1, None, None, 0.1, 1.0),), 1
    )
    found = json.loads(json.dumps(history.to_dict()))
    assert found["kept"] == 1 and found["config"]["milestones"] == [0.5] and found["epochs"][0]["loss"] == 0.1
