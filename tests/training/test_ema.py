"""Averages of weights are those of their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunus.data import load
from prunus.models import lenet5
from prunus.training import TrainConfig, train
from prunus.training.ema import Average

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(60))


def moved(model: nn.Linear, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


@pytest.mark.parametrize(("last", "wanted"), [(0.5, (6 + 7 + 8 + 9 + 10) / 5), (0.1, 10), (0.3, 9)])
def test_the_last_steps_are_averaged_alike(last: float, wanted: float) -> None:
    model = nn.Linear(1, 1, bias=False).double()
    average = Average(model, 0.0, last)
    for step in range(10):
        moved(model, step + 1)
        average.update(step / 10)
        if step / 10 < 1 - last - 1e-6:
            assert float(average.values["weight"]) == step + 1
    assert float(average.values["weight"]) == pytest.approx(wanted)


def test_the_exponential_average_begins_with_what_there_is() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    moved(model, 0.0)
    average, wanted = Average(model, 0.5), 0.0
    for step in range(10):
        moved(model, step + 1)
        average.update(step / 10)
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * (step + 1)
        assert float(average.values["weight"]) == pytest.approx(wanted)


def test_a_training_keeps_the_mean_of_its_last_weights() -> None:
    torch.manual_seed(0)
    model = lenet5(image_size=8).double()
    seen: list[torch.Tensor] = []
    config = TrainConfig(epochs=4, batch_size=20, lr=0.01, average=0.5)
    train(
        model,
        FEW,
        config,
        normalise=DIGITS.normalise,
        on_step=lambda done, total: seen.append(model.fc2.weight.detach().clone()),
    )
    assert len(seen) == 12
    torch.testing.assert_close(model.fc2.weight.detach(), torch.stack(seen[6:]).mean(0))
