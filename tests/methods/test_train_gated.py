"""Training with gates: the budget is kept, and a training that was broken off goes on as it would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from prunus import data, models
from prunus.dynamic import DynamicNetwork, activity, attach
from prunus.errors import ConfigError, TargetError
from prunus.methods.common import Journal
from prunus.methods.train_gated import Allowance, fit_gates
from prunus.tasks import Task
from prunus.training import Calibration, TrainConfig, train

DIGITS = data.load("digits")
TRAIN, HELD = DIGITS.hold_out(0.25)
MATERIAL = Task(TRAIN, HELD, DIGITS.test, normalise=DIGITS.normalise)
FEW = Task(TRAIN.subset(torch.arange(0, len(TRAIN), 6)), HELD, DIGITS.test, normalise=DIGITS.normalise)


def trained() -> nn.Module:
    torch.manual_seed(0)
    model = models.lenet5(image_size=8)
    train(model, TRAIN, TrainConfig(epochs=2, batch_size=64, lr=0.05), normalise=DIGITS.normalise)
    return model


def gated(model: nn.Module, kind: str) -> DynamicNetwork:
    return attach(model, torch.zeros(1, 1, 8, 8), ["conv*", "fc1"], kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["activation", "winners", "widths"])
def test_a_network_with_gates_learns_to_keep_a_budget(kind: str) -> None:
    network = gated(trained(), kind)
    history = fit_gates(network, MATERIAL, TrainConfig(epochs=3, lr=0.02, batch_size=64), 0.6)
    found = activity(network, Calibration(HELD, DIGITS.normalise, 1000))
    assert found.expected == pytest.approx(0.6, abs=0.06)
    assert network.budget == pytest.approx(0.6)
    assert (history.epochs[-1].validation_accuracy or 0) > 80


def test_the_allowance_falls_to_the_budget() -> None:
    allowance, model = Allowance(0.4, 10), nn.Identity()
    allowance.before_training(model, 2)
    found = []
    for _ in range(10):
        found.append(allowance.now)
        allowance.after_step(model)
    assert found == pytest.approx([1, 0.88, 0.76, 0.64, 0.52, 0.4, 0.4, 0.4, 0.4, 0.4])


def test_a_training_with_gates_that_was_broken_off_goes_on_as_it_would_have(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    config, start = TrainConfig(epochs=2, lr=0.02, batch_size=64), trained()

    def once(path: Path | None, stop: int) -> DynamicNetwork:
        network = gated(start, "activation")

        def watch(step: str, done: int, total: int) -> None:
            if step == "training" and done == stop:
                raise StopError

        fit_gates(network, FEW, config, 0.6, journal=Journal(path, 0.0, True), watch=watch)
        return network

    whole, path = once(None, -1), tmp_path / "checkpoint"
    with pytest.raises(StopError):
        once(path, 2)
    resumed = once(path, -1)
    theirs = resumed.state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    assert whole.knob == resumed.knob


@pytest.mark.parametrize("settings", [{"keep": "best"}, {"compile": True}])
def test_settings_that_do_not_go_with_gates(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="its last epoch is kept"):
        fit_gates(
            gated(trained(), "activation"),
            MATERIAL,
            TrainConfig(**{"epochs": 1, "batch_size": 64, "lr": 0.05, **settings}),
            0.5,
        )


def test_budgets_out_of_range() -> None:
    with pytest.raises(TargetError, match="between 0 and 1, not 1"):
        fit_gates(gated(trained(), "activation"), FEW, TrainConfig(epochs=1, batch_size=64, lr=0.05), 1.0)
