"""The embedded digits, and a LeNet-5 trained on them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunus import data, models
from prunus.methods.one_shot import Material
from prunus.training import TrainConfig, train


@pytest.fixture(scope="session")
def material() -> Material:
    digits = data.load("digits")
    kept, held = digits.hold_out(0.3)
    return Material(kept, digits.test, digits.normalise, held)


@pytest.fixture(scope="module")
def trained(material: Material) -> nn.Module:
    torch.manual_seed(0)
    model = models.lenet5(image_size=8)
    train(model, material.train, TrainConfig(epochs=4, batch_size=64, lr=0.05), normalise=material.normalise)
    return model.eval()
