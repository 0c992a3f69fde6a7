"""The learning rate by a range test: one figure, near what a bracket of trainings finds, of any task."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from tests.methods.nets import Normed
from torch import Tensor, nn

from prunus.errors import ConfigError, PrunusError, TargetError
from prunus.methods.rate_range import find_lr
from prunus.models import lenet5
from prunus.tasks import Task
from prunus.training import TrainConfig


def network() -> nn.Module:
    torch.manual_seed(0)
    return lenet5(image_size=8)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_rate_that_is_found_is_better_than_ten_times_more_and_less(task: Task, optimizer: Any) -> None:
    config = TrainConfig(epochs=3, batch_size=64, schedule="onecycle", optimizer=optimizer)
    found = find_lr(network(), task, config=config)
    losses = []
    for factor in (0.1, 1, 10):
        model = network()
        try:
            changed = TrainConfig(**{**vars(config), "lr": factor * found.lr})
            task.fit(model, changed)
            losses.append(task.figures(model.eval(), "validation")[1])
        except ConfigError:  # it diverged
            losses.append(float("inf"))
    assert losses[1] < 0.6 * losses[0] and losses[1] < 0.6 * losses[2], losses


def test_the_figure_is_half_of_the_rate_at_the_least_smoothed_loss(task: Task) -> None:
    found = find_lr(network(), task, config=TrainConfig(batch_size=64), steps=60)
    assert (np.diff(found.rates) > 0).all() and found.rates[0] == pytest.approx(1e-4)
    smooth, average = [], 0.0
    for number, loss in enumerate(found.losses):
        average = 0.9 * average + 0.1 * loss
        smooth.append(average / (1 - 0.9 ** (number + 1)))
    best = found.rates[smooth.index(min(smooth))]
    assert found.lr == float(f"{best / 2:.2g}")
    assert json.loads(json.dumps(found.to_dict()))["lr"] == found.lr


def test_the_network_and_random_numbers_are_as_before(task: Task) -> None:
    model, steps = Normed().eval(), list[tuple[int, int]]()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    options: dict[str, Any] = {"steps": 12, "watch": lambda step, done, total: steps.append((done, total))}
    first, second = (find_lr(model, task, **options) for _ in range(2))
    assert np.array_equal(first.losses, second.losses)
    assert torch.equal(torch.get_rng_state(), state) and not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert steps[0] == (0, 12) and len(steps) == 24


def test_a_test_that_diverges_ends_early_and_one_that_never_falls_is_told(task: Task) -> None:
    found = find_lr(network(), task, config=TrainConfig(batch_size=64))
    assert len(found.rates) < 100 and found.losses[-1] > found.losses.min()
    torch.manual_seed(0)
    stuck = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        stuck[1].weight.fill_(torch.nan)
    with pytest.raises(ConfigError, match="not finite after the first step"):
        find_lr(stuck, task)
    with pytest.raises(TargetError, match="10 steps or more, not 3"):
        find_lr(network(), task, steps=3)
    with pytest.raises(PrunusError, match="held-out"):
        find_lr(network(), Task(task.train, normalise=task.normalise))


def test_batches_and_losses_of_ones_own() -> None:
    inputs = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    pairs = [(part, part.sum(1, keepdim=True)) for part in inputs.split(10)]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(1)

    task = Task(pairs, pairs, pairs, loss=loss, metric=lambda outputs, targets: -loss(outputs, targets))
    values = []
    for factor in (0.1, 1.0):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        found = find_lr(model, task)
        task.fit(model, TrainConfig(epochs=4, lr=factor * found.lr, weight_decay=0))
        values.append(task.value(model, "validation"))
    assert values[0] < values[1]


class Own(nn.Module):
    """Returns its loss in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Any:
        found = self.layer(inputs)
        return found if targets is None else {"loss": (found - targets).square().mean()}


def test_networks_that_know_their_own_loss() -> None:
    inputs = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    pairs = [(part, part.sum(1, keepdim=True)) for part in inputs.split(10)]
    task = Task(
        pairs, pairs, pairs, loss="model", metric=lambda out, wanted: -(out - wanted).square().mean(1)
    )
    assert 0.005 < find_lr(Own(), task).lr < 5
