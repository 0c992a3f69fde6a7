"""The embedded digits, and a LeNet-5 trained on them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunus import data, models
from prunus.tasks import Task
from prunus.training import TrainConfig, train


@pytest.fixture(scope="session")
def task() -> Task:
    digits = data.load("digits")
    kept, held = digits.hold_out(0.3)
    return Task(kept, held, digits.test, normalise=digits.normalise)


@pytest.fixture(scope="module")
def trained(task: Task) -> nn.Module:
    torch.manual_seed(0)
    model = models.lenet5(image_size=8)
    train(model, task.train, TrainConfig(epochs=4, batch_size=64, lr=0.05), normalise=task.normalise)
    return model.eval()
