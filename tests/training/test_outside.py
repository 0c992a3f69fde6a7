"""What is the user's and decides how a training goes on: it is resumed with it, to the last bit."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, TensorDataset

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


class Counted(nn.Module):
    """A loss that counts its calls in a number of Python's."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return F.cross_entropy(outputs, targets) * (1 + self.calls / 10)


class Falling:
    """So does an object that is no module."""

    def __init__(self) -> None:
        self.weight = 1.0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.weight *= 0.9
        return F.cross_entropy(outputs, targets) * self.weight


class Turned(Dataset[Any]):
    """Samples that are varied by what somebody else than torch draws."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self.draw, self.source = draw, getattr(draw, "__self__", None)

    def __len__(self) -> int:
        return len(SAMPLES)

    def __getitem__(self, place: int) -> Any:
        inputs, target = SAMPLES[place]
        return inputs + self.draw(), target


class Drawing(Sampler[int]):
    """An order that a generator of its own draws."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def __len__(self) -> int:
        return len(SAMPLES)

    def __iter__(self) -> Iterator[int]:
        places = list(range(len(SAMPLES)))
        self.own.shuffle(places)
        return iter(places)


class Counting(Drawing):
    """An order by how often it was asked for."""

    def __init__(self) -> None:
        super().__init__(None)
        self.passes = 0

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        self.own = random.Random(self.passes)
        return super().__iter__()


class Told(Drawing):
    """An order by the epoch that it is told, as a DistributedSampler has."""

    def __init__(self) -> None:
        super().__init__(None)
        self.told: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.told.append(epoch)
        self.own = random.Random(epoch)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def loader(**options: Any) -> DataLoader[Any]:
    usual: dict[str, Any] = {"dataset": SAMPLES} | ({} if "batch_sampler" in options else {"batch_size": 8})
    return DataLoader(**(usual | ({} if "batch_sampler" in options else {"shuffle": True}) | options))


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
        lambda: loader(dataset=Turned(np.random.random)),
        lambda: loader(dataset=Turned(random.random)),
        lambda: loader(dataset=Turned(np.random.default_rng(7).random)),
        lambda: loader(shuffle=False, sampler=Drawing(np.random.default_rng(7))),
        lambda: loader(shuffle=False, sampler=Drawing(np.random.Generator(np.random.MT19937(7)))),
        lambda: loader(shuffle=False, sampler=Drawing(np.random.RandomState(7))),
        lambda: loader(shuffle=False, sampler=Drawing(random.Random(7))),
        lambda: loader(batch_sampler=BatchSampler(Drawing(random.Random(7)), 8, False)),
        lambda: loader(shuffle=False, sampler=Counting()),
        lambda: loader(shuffle=False, sampler=Told()),
    ],
    ids=[
        *("generator", "sampler", "workers", "workers with a generator", "drawn from NumPy", "from Python"),
        *("from a data set's own", "from a sampler's", "by Mersenne", "by NumPy's old kind", "by Python's"),
        *("by batches", "counted", "told the epoch"),
    ],
)
def test_loaders_go_on_where_they_were(make: Callable[[], DataLoader[Any]], tmp_path: Path) -> None:
    """A generator of their own began anew, and workers that persist drew another order."""
    resumed_alike(make, lambda: None, tmp_path)


@pytest.mark.parametrize(
    "loss",
    [Growing, Learned, lambda: with_penalty(Growing(), lambda: torch.zeros(())), Counted, Falling],
    ids=["counts", "learns", "with a penalty", "counts in a number", "is no module"],
)
def test_losses_go_on_where_they_were(loss: Callable[[], Any], tmp_path: Path) -> None:
    resumed_alike(loader, loss, tmp_path)


def test_a_sampler_is_told_the_epoch() -> None:
    """It had the same order in every epoch, where nobody called it."""
    sampler = Told()
    train(network(), loader(shuffle=False, sampler=sampler), CONFIG)
    assert sampler.told == [0, 1, 2, 3]


def _of_numpy() -> Any:
    return np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002


def test_numbers_of_others_are_seeded_and_put_back() -> None:
    """The weights follow from the seed also where a data set draws from NumPy and Python."""
    found = []
    for start in (1, 2):
        np.random.seed(start)  # noqa: NPY002 (what others draw from)
        random.seed(start)
        before = random.getstate(), _of_numpy()
        model = network()
        drawn = Turned(lambda: np.random.random() + random.random())  # noqa: NPY002
        train(model, loader(dataset=drawn), CONFIG)
        found.append(torch.cat([one.flatten() for one in model.parameters()]))
        assert before == (random.getstate(), _of_numpy())
    assert torch.equal(*found)


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
    with pytest.raises(FileFormatError, match="the data had no generator 'generator' then"):
        outcome(loader(generator=seeded()), Growing(), file, resume=True)
    write_tree(file, {name: value for name, value in tree.items() if name != "origin"})
    with pytest.raises(FileFormatError, match="holds the state of another loss"):
        outcome(loader(), F.cross_entropy, file, resume=True)
    write_tree(file, {name: value for name, value in tree.items() if name not in ("origin", "outside")})
    assert len(outcome(loader(), Growing(), file, resume=True)[1]) == 4
    outside = Outside(None, [])
    assert outside.state() == {"loss": {}, "generators": {}, "counted": {}}
    outside.restore(None)


@pytest.mark.parametrize("forged", [{"forward": 1}, {"calls": "none"}, {"_modules": 0}, {"calls": [1]}])
def test_a_file_reaches_nothing_but_counts(forged: dict[str, Any]) -> None:
    outside = Outside(Counted(), [])
    state = outside.state()
    outside.restore(state | {"counted": {"loss": {"calls": 3}}})
    before = dict(vars(outside._loss))
    assert before["calls"] == 3
    with pytest.raises(ValueError, match="is no number that Counted counts"):
        outside.restore(state | {"counted": {"loss": forged}})
    assert vars(outside._loss) == before
