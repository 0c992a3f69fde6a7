"""Grids that are trained with the bits in the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from prunus.coding.tensors import Grid, values_of
from prunus.data.sets import Split
from prunus.errors import ConfigError
from prunus.paint.model_copy import named_tensors
from prunus.quantisation.quantised import Quantised
from prunus.quantisation.trained import train_on_grids
from prunus.tasks import Task
from prunus.training import TrainConfig

SHORT = TrainConfig(epochs=3, batch_size=32, lr=5e-3, optimizer="adam", weight_decay=0)
CONFIG = TrainConfig(epochs=20, batch_size=16, lr=5e-3, optimizer="adam", weight_decay=0)


def task() -> Task:
    """Is the bright square left or right?"""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 60, (192, 1, 8, 8), generator=draw, dtype=torch.uint8)
    labels = torch.arange(192) % 2
    images[labels == 0, :, 2:6, :4] += 120
    images[labels == 1, :, 2:6, 4:] += 120
    return Task(
        train=Split(images[:128], labels[:128]),
        validation=Split(images[128:], labels[128:]),
        normalise=((0.3,), (0.3,)),
    )


def layer(found: Quantised, index: int) -> Any:
    return found.model.get_submodule(str(index))


def network(norm: bool = False) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=not norm),
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(72, 16),
        nn.ReLU(),
        nn.Linear(16, 2),
    )


def nonzero(found: Quantised) -> int:
    return sum(int((c.integers != 0).sum()) for c in found.tensors.values() if isinstance(c, Grid))


@pytest.mark.parametrize("norm", [False, True])
def test_a_rate_buys_zeros_and_units_leave(norm: bool) -> None:
    model = network(norm)
    free = train_on_grids(model, task(), rate=0.0, config=CONFIG)
    paid = train_on_grids(model, task(), rate=2.0, config=CONFIG)
    assert nonzero(paid) < 0.5 * nonzero(free)
    assert layer(paid, 5).weight.numel() < model[5].weight.numel()
    assert task().value(paid.model, "validation") > 90
    for name, tensor in named_tensors(paid.model).items():
        assert np.array_equal(values_of(paid.tensors[name]), tensor.numpy(force=True)), name
    assert isinstance(paid.tensors["1.weight" if norm else "0.bias"], Grid)


def test_units_stay_where_they_are_to_stay() -> None:
    model = network()
    found = train_on_grids(model, task(), rate=2.0, config=SHORT, remove=False)
    assert [p.shape for p in found.model.parameters()] == [p.shape for p in model.parameters()]


def test_a_teacher_is_learned_from_and_not_changed() -> None:
    model = network()
    teacher = network()
    task().fit(teacher, CONFIG)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    found = train_on_grids(model, task(), rate=0.1, config=CONFIG, teacher=teacher)
    assert task().value(found.model, "validation") > 90
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


def test_a_training_that_was_cut_off_goes_on_to_the_same_integers(tmp_path: Path) -> None:
    whole = train_on_grids(network(), task(), rate=0.5, config=SHORT, checkpoint=tmp_path / "a")

    def stop(record: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_on_grids(network(), task(), rate=0.5, config=SHORT, checkpoint=tmp_path / "b", on_epoch=stop)
    again = train_on_grids(network(), task(), rate=0.5, config=SHORT, checkpoint=tmp_path / "b", resume=True)
    for name, coded in whole.tensors.items():
        assert np.array_equal(values_of(coded), values_of(again.tensors[name])), name


def test_the_model_itself_is_not_changed() -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_on_grids(model, task(), rate=0.5, config=TrainConfig(epochs=1, optimizer="adam", lr=1e-3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_rate_is_not_negative() -> None:
    with pytest.raises(ConfigError, match="rate"):
        train_on_grids(network(), task(), rate=-1.0)
