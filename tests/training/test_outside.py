"""What is the user's and decides how a training goes on: it is resumed with it, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from prunus.errors import FileFormatError
from prunus.storage import read_tree, write_tree
from prunus.tasks import Task
from prunus.tasks.inputs import WithTargets
from prunus.training import TrainConfig, train
from prunus.training.objective import with_penalty
from prunus.training.outside import Outside

INPUTS = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
SAMPLES = TensorDataset(INPUTS, INPUTS[:, :3].argmax(1))
CONFIG = TrainConfig(epochs=4, lr=0.05)


class BrokenOffError(Exception):
    """Ends a training."""


class Growing(nn.Module):
    """A loss that counts how often it was called, and is the larger for it."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return F.cross_entropy(outputs, targets) * (1 + self.calls / 10)


class Learned(nn.Module):
    """A loss with a parameter that the optimiser has, too."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets) * (-self.scale).exp() + self.scale


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(SAMPLES, 8, **({"shuffle": True} | options))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def outcome(
    batches: Any, loss: Any, file: Path, until: int | None = None, resume: bool = False
) -> tuple[dict[str, Tensor], Any]:
    """The weights, and the losses of the epochs."""
    model = network()
    learned = list(loss.parameters()) if isinstance(loss, nn.Module) else []
    optimizer = torch.optim.SGD([*model.parameters(), *learned], 0.05, momentum=0.9)

    def stop(record: Any) -> None:
        if record.epoch == until:
            raise BrokenOffError

    try:
        history = train(
            model,
            batches,
            CONFIG,
            loss=loss,
            optimizer=optimizer,
            checkpoint=file,
            on_epoch=stop,
            resume=resume,
        )
    except BrokenOffError:
        return {}, None
    return model.state_dict(), [epoch.loss for epoch in history.epochs]


def resumed_alike(make: Callable[[], Any], loss: Callable[[], Any], tmp_path: Path) -> None:
    whole = outcome(make(), loss(), tmp_path / "whole.safetensors")
    outcome(make(), loss(), tmp_path / "broken.safetensors", until=2)
    torch.manual_seed(99)
    again = outcome(make(), loss(), tmp_path / "broken.safetensors", resume=True)
    assert again[1] == whole[1]
    assert all(torch.equal(again[0][name], tensor) for name, tensor in whole[0].items())


@pytest.mark.parametrize(
    "make",
    [
        lambda: loader(generator=seeded()),
        lambda: loader(shuffle=False, sampler=RandomSampler(SAMPLES, generator=seeded())),
        lambda: loader(num_workers=1, persistent_workers=True),
        lambda: loader(num_workers=1, persistent_workers=True, generator=seeded()),
    ],
    ids=["generator", "sampler", "workers", "workers with a generator"],
)
def test_loaders_go_on_where_they_were(make: Callable[[], DataLoader[Any]], tmp_path: Path) -> None:
    """A generator of their own began anew, and workers that persist drew another order."""
    resumed_alike(make, lambda: None, tmp_path)


@pytest.mark.parametrize(
    "loss",
    [Growing, Learned, lambda: with_penalty(Growing(), lambda: torch.zeros(()))],
    ids=["counts", "learns", "with a penalty"],
)
def test_losses_go_on_where_they_were(loss: Callable[[], Any], tmp_path: Path) -> None:
    resumed_alike(loader, loss, tmp_path)


def test_batches_with_their_targets_among_the_inputs_have_their_loaders_generator() -> None:
    """As those of networks that return their losses have."""
    assert len(Outside(None, WithTargets(loader(generator=seeded()))).state()["generators"]) == 1


def test_a_task_hands_its_loss_on(tmp_path: Path) -> None:
    loss, file = Growing(), tmp_path / "checkpoint.safetensors"
    Task(loader(), loss=loss).fit(network(), CONFIG, checkpoint=file)
    assert cast(Any, read_tree(file))["outside"]["loss"]["calls"] == loss.calls == 20


def test_frozen_weights_of_a_loss_are_left_out() -> None:
    loss = Learned()
    loss.network = nn.Linear(2, 2).requires_grad_(False)
    assert set(Outside(loss, []).state()["loss"]) == {"scale"}


def test_files_without_and_with_other_states(tmp_path: Path) -> None:
    """Those of earlier versions are read as before, and those of other losses are named."""
    file = tmp_path / "checkpoint.safetensors"
    outcome(loader(), Growing(), file, until=2)
    tree = cast(Any, read_tree(file))
    with pytest.raises(FileFormatError, match="holds the state of another loss"):
        train(network(), loader(), CONFIG, loss=F.cross_entropy, checkpoint=file, resume=True)
    with pytest.raises(FileFormatError, match=r"is not the checkpoint of a training \(ValueError: "):
        outcome(loader(generator=seeded()), Growing(), file, resume=True)
    write_tree(file, {name: value for name, value in tree.items() if name != "outside"})
    assert len(outcome(loader(), Growing(), file, resume=True)[1]) == 4
    outside = Outside(None, [])
    assert outside.state() == {"loss": {}, "generators": []}
    outside.restore(None)
