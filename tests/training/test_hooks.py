"""What a training asks of others, in which order, and what a checkpoint keeps of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from prunus.data import load
from prunus.training import Pruning, TrainConfig, train
from prunus.training.hooks import StepCount

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(30))


class Noted(Pruning):
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def before_training(self, model: nn.Module, epochs: int) -> None:
        self.asked.append(f"before {epochs}")

    def after_step(self, model: nn.Module) -> None:
        self.asked.append("step")

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        self.asked.append(f"epoch {epoch} of {epochs}")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_hooks_are_called_in_order() -> None:
    noted = Noted()
    config = TrainConfig(epochs=2, batch_size=15, lr=0.01)
    train(network(), FEW, config, normalise=DIGITS.normalise, pruning=noted)
    epoch = ["step", "step"]
    assert noted.asked == ["before 2", *epoch, "epoch 0 of 2", *epoch, "epoch 1 of 2"]


def test_what_is_not_written_does_nothing() -> None:
    plain, model = Pruning.state, network()

    class Silent(Pruning):
        """Has nothing to do."""

    silent = Silent()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    silent.before_training(model, 1)
    silent.after_step(model)
    silent.after_epoch(model, 0, 1)
    silent.restore({})
    assert silent.state() == {} == silent.surviving(model) and plain is Silent.state
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_resumed_training_goes_on_counting(tmp_path: Path) -> None:
    config = TrainConfig(epochs=3, batch_size=10, lr=0.01)
    first, again = StepCount(), StepCount()

    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise StopError

    kept = {"checkpoint": tmp_path / "a", "checkpoint_seconds": 0.0}
    try:
        train(network(), FEW, config, normalise=DIGITS.normalise, pruning=first, on_step=stop, **kept)  # type: ignore[arg-type]
    except StopError:
        assert first.done < 9
    train(network(), FEW, config, normalise=DIGITS.normalise, pruning=again, resume=True, **kept)  # type: ignore[arg-type]
    assert again.done == 9
