"""Tasks: the same answers from samples and from batches, metrics of every kind, and losses that a model
returns of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import prunus
from prunus import data
from prunus.errors import ArgumentError, ConfigError, DataError
from prunus.methods.common import Target
from prunus.methods.one_shot import one_shot
from prunus.tasks import Accuracy, Task
from prunus.training import TrainConfig, batches, evaluate

DIGITS = data.load("digits")
FEW = DIGITS.train.subset(torch.arange(200))
HELD = DIGITS.train.subset(torch.arange(200, 300))
SHORT = TrainConfig(epochs=1, batch_size=50, lr=0.05)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def pairs(split: data.Split, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(batches(split, DIGITS.normalise, size))


def test_samples_and_batches_give_the_same_figures() -> None:
    model = network().eval()
    whole = Task(FEW, HELD, DIGITS.test, normalise=DIGITS.normalise)
    stream = Task(pairs(FEW, 50), pairs(HELD, 30), pairs(DIGITS.test, 70))
    assert torch.equal(whole.points(model), stream.points(model))  # type: ignore[arg-type]  # tensors, as top-1 accuracy has a number per sample
    found = evaluate(model, DIGITS.test, DIGITS.normalise)
    for task in (whole, stream):
        value, loss = task.figures(model)
        assert value == pytest.approx(found.accuracy) and loss == pytest.approx(found.loss, rel=1e-5)
    assert torch.equal(whole.example_inputs(), pairs(FEW, 1)[0][0]) and stream.example_inputs().shape == (
        1,
        1,
        8,
        8,
    )


def test_the_model_stays_as_it_was() -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Task(
        FEW,
        HELD,
        normalise=DIGITS.normalise,
        metric=lambda outputs, targets: (outputs.argmax(1) == targets).float(),
    ).points(model)
    assert model.training and all(
        torch.equal(value, before[name]) for name, value in model.state_dict().items()
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_network_of_any_task_is_pruned_to_a_tolerance(stream: bool) -> None:
    task = Task(FEW, HELD, DIGITS.test, normalise=DIGITS.normalise)
    if stream:
        task = Task(pairs(FEW, 50), pairs(HELD, 50), pairs(DIGITS.test, 70))
    model = network()
    task.fit(model, TrainConfig(epochs=3, batch_size=50, lr=0.05))
    outcome = one_shot(
        model,
        task,
        score=lambda graph: prunus.scores.norm(graph),
        target=Target("tolerance", 20.0),
        config=SHORT,
        trial_config=SHORT,
    )
    assert outcome.plan.removed and outcome.limit is not None and outcome.tuning is not None
    assert [step.step for step in outcome.steps][:2] == ["before", "after removal"]
    assert outcome.steps[-1].value == pytest.approx(task.value(outcome.model))
    accepted = [trial for trial in outcome.trials if trial.accepted]
    assert all(outcome.limit.baseline - trial.lowest <= 20.0 for trial in accepted)


class Stream(IterableDataset[Any]):
    """Samples without a length."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from zip(FEW.images.float(), FEW.labels)


def once() -> Iterator[tuple[Tensor, Tensor]]:
    yield torch.zeros(1), torch.zeros(1)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Task(FEW), DataError, r"pixels from 0 to 255: the task needs normalise"),
        (lambda: Task(once()), ConfigError, "batches that can be read again"),  # type: ignore[arg-type]
        (
            lambda: Task(pairs(FEW, 10), test=DataLoader(Stream(), 4)),
            ConfigError,
            "test is a DataLoader that does not know how many batches it has: give .* a __len__",
        ),
        (lambda: Task(pairs(FEW, 10), loss="mine"), ConfigError, "A loss is a function"),  # type: ignore[arg-type]
        (lambda: Task(pairs(FEW, 10), metric=3), ConfigError, "A metric is a function"),  # type: ignore[arg-type]
        (
            lambda: Task(pairs(FEW, 10), metric=Accuracy),  # type: ignore[arg-type]
            ConfigError,
            "the class Accuracy; make one of it first",
        ),
        (
            lambda: Task(pairs(FEW, 10), loss=nn.CrossEntropyLoss),  # type: ignore[arg-type]
            ConfigError,
            "not the class CrossEntropyLoss; make one of it first",
        ),
        (lambda: Task(pairs(FEW, 10), classes=[0, 1]), ConfigError, "classes must be a tuple of texts"),  # type: ignore[arg-type]
        (lambda: Task(pairs(FEW, 10), classes="ab"), ConfigError, "classes must be a tuple of texts"),  # type: ignore[arg-type]
        (lambda: Task(pairs(FEW, 10), name=3), ConfigError, "name must be a text"),  # type: ignore[arg-type]
        (lambda: Task(pairs(FEW, 10), batch_size=0), ArgumentError, "batch_size must be at least 1"),
        (lambda: Task(pairs(FEW, 10), batch_size=2.5), ConfigError, "batch_size must be a whole number"),  # type: ignore[arg-type]
        (lambda: Task(pairs(FEW, 10), core_forward=3), ConfigError, "core_forward must be a function"),  # type: ignore[arg-type]
        (lambda: Task(pairs(FEW, 10)).points(network()), DataError, "no validation samples"),
        (lambda: Task(pairs(FEW, 10)).samples("train"), ConfigError, "works on samples in memory"),
        (lambda: Task([torch.zeros(3)]).example_inputs(), DataError, r"must be a pair \(inputs, targets\)"),
        (
            lambda: Task(pairs(FEW, 10), pairs(FEW, 10)).points(nn.Conv2d(1, 3, 3)),
            ConfigError,
            "give the task a metric of its own",
        ),
        (
            lambda: Task(pairs(FEW, 10), pairs(FEW, 10), metric=lambda o, t: o).points(network()),
            ConfigError,
            "one number per sample",
        ),
    ],
)
def test_what_a_task_is_not_is_told_in_a_sentence(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()


def test_nothing_to_train_on_is_told() -> None:
    few = TensorDataset(torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.int64))
    nothing: list[Any] = [[], DataLoader(few, batch_size=4, drop_last=True)]
    for train in nothing:
        with pytest.raises(DataError, match="There is no batch to train on"):
            Task(train).example_inputs()
