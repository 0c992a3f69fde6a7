"""The optimiser of a training is that of its settings, or the one that was given."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from prunus.errors import ConfigError
from prunus.training import TrainConfig, train
from prunus.training.muon import Muon
from prunus.training.optimizers import fitting, highest_rate, new_optimizer, rate_shares


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


def test_groups_keep_the_ratios_of_their_learning_rates() -> None:
    """They all had the one of the settings, in silence."""
    torch.manual_seed(0)
    batches = [(torch.randn(6, 3), torch.randn(6, 2))] * 4
    model, copied = (nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)) for _ in range(2))
    copied.load_state_dict(model.state_dict())
    groups: list[dict[str, Any]] = [
        {"params": model[0].parameters(), "lr": 0.002},
        {"params": model[1].parameters()},
    ]
    optimizer, config = torch.optim.SGD(groups, lr=0.02), TrainConfig(epochs=1, lr=0.1, schedule="constant")
    for _ in range(2):  # a second training begins at the same rates, wherever the first one ended
        train(model, batches, config, loss=nn.functional.mse_loss, optimizer=optimizer)
        for inputs, targets in batches:
            gradients = torch.autograd.grad(
                nn.functional.mse_loss(copied(inputs), targets), list(copied.parameters())
            )
            with torch.no_grad():
                for number, (one, gradient) in enumerate(zip(copied.parameters(), gradients)):
                    one.sub_(gradient, alpha=0.01 if number < 2 else 0.1)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), copied.parameters()))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    assert rate_shares(optimizer) == [1.0, 1.0] and highest_rate(optimizer) == 0.0
