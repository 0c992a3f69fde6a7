"""The optimiser of a training is that of its settings, or the one that was given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from prunus.errors import ConfigError
from prunus.training import TrainConfig
from prunus.training.muon import Muon
from prunus.training.optimizers import fitting, new_optimizer


@pytest.mark.parametrize(
    ("changes", "kind", "wanted"),
    [
        ({}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "lr": 0.1}),
        ({"momentum": 0.0}, torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ({"optimizer": "adam", "weight_decay": 0.1}, torch.optim.Adam, {"weight_decay": 0.1}),
        ({"optimizer": "adamw", "lr": 1e-3}, torch.optim.AdamW, {"lr": 1e-3}),
        ({"optimizer": "muon", "lr": 1e-3}, Muon, {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4}),
    ],
)
def test_settings_become_an_optimiser(changes: dict[str, Any], kind: type, wanted: dict[str, Any]) -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    found = new_optimizer(model, TrainConfig(**changes))
    assert type(found) is kind and wanted.items() <= found.param_groups[0].items()
    assert [id(p) for p in found.param_groups[0]["params"]] == [id(model.weight)]


def test_nothing_to_train_and_strangers_are_told() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD([model.weight], 0.1)
    with pytest.raises(ConfigError, match="does not hold 1 parameters of this model, such as bias"):
        fitting(optimizer, model)
    with pytest.raises(ConfigError, match="nothing to train"):
        new_optimizer(model.requires_grad_(False), TrainConfig())
    assert fitting(optimizer, model) is optimizer
