"""A training that is broken off and resumed ends in the very weights of one that never stopped."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.processes import Started
from torch import Tensor, nn

from prunus.data import load
from prunus.errors import ConfigError, FileFormatError
from prunus.selection import Selection
from prunus.storage import read_tree, write_tree
from prunus.training import History, TrainConfig, train

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(0, 1442, 9))
HELD = DIGITS.train.subset(torch.arange(1, 1442, 30))


class BrokenOffError(Exception):
    """Stands for a kill."""


class Half:
    """Half of the samples, those of the largest last loss, with weights; its random state must survive."""

    def __init__(self) -> None:
        self.losses = torch.zeros(len(FEW))
        self.rng = np.random.default_rng(0)

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        assert not model.training
        if epoch == 0:
            return None
        noisy = self.losses.numpy() + self.rng.random(len(FEW))
        return Selection(noisy > np.median(noisy), np.linspace(0.5, 1.5, len(FEW), dtype=np.float32))

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        self.losses[samples] = losses

    def state(self) -> dict[str, Any]:
        return {"losses": self.losses, "rng": str(self.rng.bit_generator.state)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.losses = state["losses"]
        self.rng.bit_generator.state = eval(state["rng"])


class Rounding:
    """Rounds weights after every epoch, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def before_training(self, model: nn.Module, epochs: int) -> None:
        self.times = 100

    def after_step(self, model: nn.Module) -> None:
        """Nothing."""

    def surviving(self, model: nn.Module) -> dict[str, Tensor]:
        return {}

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        self.times += 1
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(self.times).round_(decimals=2).div_(self.times)

    def state(self) -> dict[str, Any]:
        return {"times": self.times}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.times = state["times"]


def network() -> nn.Module:
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3)  # the weight of the second has a memory format
    return nn.Sequential(
        first,
        nn.BatchNorm2d(4),
        nn.ReLU(),
        second,
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(96, 10),
    )


def trained(
    config: TrainConfig, extras: bool, stop: int = 10**9, path: Path | None = None, resume: bool = False
) -> tuple[nn.Module, History | None]:
    """Train to the end, or break off after `stop` steps."""
    model, steps = network(), 0

    def count(done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps > stop:
            raise BrokenOffError

    parts: dict[str, Any] = {"curriculum": Half(), "pruning": Rounding()} if extras else {}
    try:
        kept: dict[str, Any] = {"checkpoint": path, "checkpoint_seconds": 0.0, "resume": resume}
        history = train(
            model, FEW, config, normalise=DIGITS.normalise, validation=HELD, on_step=count, **kept, **parts
        )
    except BrokenOffError:
        return model, None
    return model, history


def assert_same(first: tuple[nn.Module, History | None], second: tuple[nn.Module, History | None]) -> None:
    theirs = second[0].state_dict()
    for name, value in first[0].state_dict().items():
        assert torch.equal(value, theirs[name]), name
    assert first[1] is not None and second[1] is not None
    for mine, other in zip(first[1].epochs, second[1].epochs, strict=True):
        assert (mine.loss, mine.accuracy, mine.validation_accuracy, mine.lr, mine.samples) == (
            other.loss,
            other.accuracy,
            other.validation_accuracy,
            other.lr,
            other.samples,
        )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "lr": 1e-3, "schedule": "onecycle", "clip": 1.0},
        {"augment": "crop-flip-cutout", "ema": 0.9, "precision": "bfloat16", "channels_last": True},
        {"augment": "crop-flip", "flips": "alternating", "average": 0.4, "optimizer": "muon", "lr": 3e-3},
        {"first_batch": 0.4, "schedule": "onecycle", "same_steps": True},
        {
            "optimizer": "adam",
            "lr": 1e-3,
            "schedule": "step",
            "warmup_steps": 3,
            "label_smoothing": 0.1,
            "momentum": 0.0,
        },
    ],
)
@pytest.mark.parametrize("extras", [False, True])
def test_broken_off_anywhere_and_resumed_is_the_same_training(
    changes: dict[str, Any], extras: bool, tmp_path: Path
) -> None:
    config = TrainConfig(**{"epochs": 3, "batch_size": 40, "lr": 0.02, **changes})
    whole = trained(config, extras)
    path = tmp_path / "checkpoint.safetensors"
    for stop in (2, 1, 3, 1):  # in the middle and at the ends of epochs
        assert trained(config, extras, stop, path, resume=True)[1] is None
    assert_same(whole, trained(config, extras, path=path, resume=True))
    assert_same(whole, trained(config, extras, path=path, resume=True))  # a finished one stays finished


def told(path: Path, result: Path) -> None:
    """A training that tells its steps and keeps a checkpoint of each, in a process of its own."""
    torch.set_num_threads(1)
    model = network()
    train(
        model,
        FEW,
        TrainConfig(epochs=4, batch_size=40, lr=0.05),
        normalise=DIGITS.normalise,
        checkpoint=path,
        checkpoint_seconds=0.0,
        resume=True,
        on_step=lambda done, total: print(done, flush=True) or time.sleep(0.01),  # type: ignore[func-returns-value]
    )
    torch.save(model.state_dict(), result)


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = network()
        train(model, FEW, TrainConfig(epochs=4, batch_size=40, lr=0.05), normalise=DIGITS.normalise)
    finally:
        torch.set_num_threads(threads)
    checkpoint, result = tmp_path / "checkpoint.safetensors", tmp_path / "weights.pt"
    for line_to_die_at in (3, 6):
        with Started(told, checkpoint, result) as process:
            for _ in range(line_to_die_at):
                assert process.stdout.readline()
            time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.ended()[0] == -signal.SIGKILL
    with Started(told, checkpoint, result) as process:
        assert process.ended()[0] == 0
    found = torch.load(result, weights_only=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, found[name]), name


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    config = TrainConfig(epochs=2, batch_size=40, lr=0.05)
    trained(config, extras=False, path=path)
    with pytest.raises(
        ConfigError,
        match=r"was written by a training with lr = 0\.05, not 0\.1: resume with the same settings",
    ):
        trained(TrainConfig(epochs=2, batch_size=40, lr=0.1), extras=False, path=path, resume=True)
    with pytest.raises(ConfigError, match=r"was written without a curriculum"):
        trained(config, extras=True, path=path, resume=True)
    with pytest.raises(ConfigError, match=r"on 161 samples, not 49"):
        train(network(), HELD, config, normalise=DIGITS.normalise, checkpoint=path, resume=True)
    with pytest.raises(ConfigError, match=r"holds another network than this Sequential"):
        train(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
            FEW,
            config,
            normalise=DIGITS.normalise,
            checkpoint=path,
            resume=True,
        )
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match="is not a whole checkpoint"):
        trained(config, extras=False, path=path, resume=True)


def test_a_full_disk_is_named_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    config = TrainConfig(epochs=2, batch_size=40, lr=0.05)
    trained(config, extras=False, stop=2, path=path)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FileFormatError, match=r"cannot be written \(No space left on device\)"):
            trained(config, extras=False, path=path, resume=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert_same(trained(config, extras=False), trained(config, extras=False, path=path, resume=True))


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    tensors = {
        "t": torch.arange(6).view(2, 3),
        "empty": torch.zeros(0),
        "scalar": torch.tensor(2, dtype=torch.int8),
    }
    tree = {"a": [1, 2.5, None, True, "x"], 3: tensors}
    write_tree(tmp_path / "tree", tree)
    found = read_tree(tmp_path / "tree")
    assert found["a"] == tree["a"] and list(found) == ["a", 3]
    for name, tensor in tensors.items():
        assert torch.equal(found[3][name], tensor) and found[3][name].dtype == tensor.dtype
    with pytest.raises(FileFormatError, match="not set"):
        write_tree(tmp_path / "tree", {"a": {1}})
    with pytest.raises(FileFormatError, match=r"as keys, not 1\.5"):
        write_tree(tmp_path / "tree", {1.5: 2})
    with pytest.raises(FileFormatError, match="There is no checkpoint at"):
        read_tree(tmp_path / "other")


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": "1"},
        {"epoch": -1},
        {"order": 3},
        {"records": [3]},
        {"random": {"python": [3, [2**70] * 625, None]}},
        {"random": {"python": [3, [-1] * 625, None]}},
        {"random": {"numpy": {"bit_generator": "MT19937", "state": {"key": [2**70] * 624, "pos": 2**70}}}},
        {"random": {"own": torch.zeros(3, dtype=torch.uint8)}},
    ],
)
def test_progress_that_no_training_writes_is_told_with_the_file(
    change: dict[str, Any], tmp_path: Path
) -> None:
    """NumPy's and Python's generators say with an OverflowError that a number is none of theirs."""
    file, config = tmp_path / "checkpoint.safetensors", TrainConfig(epochs=1, lr=0.1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    train(model, FEW, config, normalise=DIGITS.normalise, checkpoint=file)
    tree: Any = read_tree(file)
    random = tree["progress"]["random"] | change.get("random", {})
    write_tree(file, tree | {"progress": tree["progress"] | change | {"random": random}})
    with pytest.raises(
        FileFormatError, match=r"checkpoint\.safetensors is not the checkpoint of a training \("
    ):
        train(model, FEW, config, normalise=DIGITS.normalise, checkpoint=file, resume=True)
