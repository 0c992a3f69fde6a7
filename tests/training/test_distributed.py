"""Two processes train what one trains: the same weights, the same losses, the same choices."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests.processes import KIND
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from prunus.data import load
from prunus.errors import ConfigError
from prunus.methods.soft import SoftPruning
from prunus.selection import EasyDropped, Scheduled, Selection
from prunus.training import History, TrainConfig, batches, train
from prunus.training.distributed import Ranks, joined
from prunus.training.exchange import SurvivingGradients

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(0, 1442, 9))  # 161: no batch can be halved evenly
HELD = DIGITS.train.subset(torch.arange(1, 1442, 30))

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch was built without gloo"
)


def network() -> nn.Module:
    """Without batch norm, whose statistics each process would take from its own share."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.GroupNorm(1, 6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 10)
    ).double()


class Noted(Scheduled):
    """Notes what was chosen."""

    def __init__(self) -> None:
        self.chosen: list[Selection] = []
        super().__init__(
            EasyDropped(len(FEW), 0.5, seed=Ranks.current().rank),
            FEW.labels.numpy(),
            keep_record=lambda _, s: self.chosen.append(s),
        )


def trained(**changes: Any) -> tuple[nn.Module, History]:
    model = network()
    parts: dict[str, Any] = {}
    if changes.pop("extras", False):
        parts = {
            "curriculum": Noted(),
            "pruning": SoftPruning(torch.zeros(1, 1, 8, 8, dtype=torch.float64), 0.3),
        }
    path, resume = changes.pop("path", None), changes.pop("resume", False)
    config = TrainConfig(**{"epochs": 2, "batch_size": 40, "lr": 0.02, **changes})
    history = train(
        model,
        FEW,
        config,
        normalise=DIGITS.normalise,
        validation=HELD,
        checkpoint=path,
        resume=resume,
        **parts,
    )
    return model, history


def together(work: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """Run `work(*arguments)` in two processes; what each returned."""
    start_processes(_process, args=(work, folder, arguments), nprocs=2, start_method=KIND)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def _process(rank: int, work: Callable[..., Any], folder: Path, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    with joined("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2):
        torch.save(work(*arguments), folder / f"{rank}.pt")
    assert not [name for name in threads() if "gloo" in name], "threads of the group are left"


def threads() -> list[str]:
    """Names of this process's threads, where the system tells them."""
    return [(one / "comm").read_text() for one in Path("/proc/self/task").glob("*")]


class Mine:
    """Of every batch the share of this process."""

    def __init__(self) -> None:
        whole = batches(FEW, DIGITS.normalise, 40, dtype=torch.float64)
        self.parts = [
            (images[Ranks.current().share(len(labels))], labels[Ranks.current().share(len(labels))])
            for images, labels in whole
        ]

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.parts)


def streamed() -> Any:
    model = network()
    history = train(
        model,
        Mine(),
        TrainConfig(epochs=2, lr=0.02, batch_size=64),
        validation=lambda model: float(next(model.parameters()).sum()),
    )
    return (
        model.state_dict(),
        [(e.loss, e.accuracy, e.samples) for e in history.epochs],
        [e.validation_accuracy for e in history.epochs],
    )


def test_two_processes_train_on_the_batches_that_each_brings(tmp_path: Path) -> None:
    wanted, epochs, scores = streamed()
    for state, records, found in together(streamed, tmp_path):
        for name, value in wanted.items():
            torch.testing.assert_close(state[name], value, rtol=1e-9, atol=1e-11)
        assert found == pytest.approx(scores, rel=1e-9)
        for mine, epoch in zip(records, epochs, strict=True):
            assert mine == pytest.approx(epoch, rel=1e-9)


TRAININGS: list[dict[str, Any]] = [
    {},
    {"augment": "crop-flip-cutout", "ema": 0.9, "clip": 0.5},
    {"augment": "crop-flip", "flips": "alternating", "average": 0.5},
    {"extras": True, "optimizer": "adamw", "lr": 1e-3, "epochs": 4, "clip": 0.5, "channels_last": True},
]


def weights_and_records() -> Any:
    results = []
    for changes in TRAININGS:
        model, history = trained(**changes)
        records = [(e.loss, e.accuracy, e.validation_accuracy, e.samples) for e in history.epochs]
        results.append((model.state_dict(), records, [e.exchanged_bytes for e in history.epochs]))
    return results


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    alone = weights_and_records()
    for results in together(weights_and_records, tmp_path):
        for (state, records, sent), (wanted, epochs, none) in zip(results, alone, strict=True):
            for name, value in wanted.items():
                torch.testing.assert_close(state[name], value, rtol=1e-9, atol=1e-11)
            for mine, epoch in zip(records, epochs, strict=True):
                assert mine == pytest.approx(epoch, rel=1e-9)
            assert set(none) == {0} and sent[0] == sum(8 * value.numel() for value in wanted.values())
        # the last training, whose filters are frozen after two epochs
        assert sent[2] == sent[3] < 0.9 * sent[0] == 0.9 * sent[1]


def unbroken_and_resumed(path: Path, softly: bool, at: int) -> Any:
    """Weights without a break, and with one after the step `at` of fifteen."""

    class StopError(Exception):
        pass

    def once(**kept: Any) -> nn.Module:
        model = nn.Sequential(network(), nn.Dropout(0.2)).double()
        image = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
        pruning = SoftPruning(image, 0.5) if softly else None
        config = TrainConfig(epochs=3, batch_size=40, lr=0.02, ema=0.9 if softly else 0.0)
        with suppress(StopError):
            train(model, FEW, config, normalise=DIGITS.normalise, pruning=pruning, **kept)
        return model

    def stop(done: int, total: int) -> None:
        if done == at:
            dist.barrier()
            raise StopError

    kept: dict[str, Any] = {"checkpoint": path, "checkpoint_seconds": 0.0, "resume": True}
    whole = once()
    once(on_step=stop, **kept)
    return whole.state_dict(), once(**kept).state_dict()


@pytest.mark.parametrize(
    ("softly", "at"), [(False, 7), (True, 12)]
)  # the last epoch without half the filters
def test_several_processes_resume_too(tmp_path: Path, softly: bool, at: int) -> None:
    for whole, resumed in together(unbroken_and_resumed, tmp_path, tmp_path / "checkpoint", softly, at):
        for name, value in whole.items():
            assert torch.equal(resumed[name], value), name


def test_shares_are_even() -> None:
    for count in range(3, 30):
        shares = [Ranks(rank, 3).share(count) for rank in range(3)]
        sizes = [share.stop - share.start for share in shares]
        assert (
            sum(sizes) == count
            and max(sizes) - min(sizes) <= 1
            and shares[0].start == 0
            and shares[1].start == shares[0].stop
        )
    with pytest.raises(ConfigError, match="A batch of 2 samples cannot be shared by 3 processes"):
        Ranks(0, 3).share(2)


def masked_steps(surviving: bool) -> Any:
    """Five steps of a network in which half of the inner channels are zero and stay so; bytes sent at the
    end.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10)
    ).double()
    masks: Mapping[str, Tensor] = {
        name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()
    }
    masks["0.weight"][::2], masks["0.bias"][::2], masks["2.weight"][:, ::2] = False, False, False
    wrapped = Ranks.current().wrapped(model)
    hook = SurvivingGradients(model, {name: mask for name, mask in masks.items() if not mask.all()})
    if surviving:
        hook.register(wrapped)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images, labels = FEW.images.double() / 255, FEW.labels
    for step in range(5):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.mul_(masks[name])
        part = slice(20 * step + 10 * Ranks.current().rank, 20 * step + 10 * Ranks.current().rank + 10)
        optimizer.zero_grad()
        nn.functional.cross_entropy(wrapped(images[part]), labels[part]).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            if surviving:
                assert not parameter.grad[~masks[name]].any()
            parameter.grad.mul_(masks[name])
        optimizer.step()
    return model.state_dict(), hook.sent, hook.full


def with_and_without_hook() -> Any:
    return masked_steps(False), masked_steps(True)


def test_exchanging_surviving_gradients_gives_the_same_weights_for_fewer_bytes(tmp_path: Path) -> None:
    for (state, *_), (mine, sent, full) in together(with_and_without_hook, tmp_path):
        for name, value in state.items():
            torch.testing.assert_close(mine[name], value, rtol=1e-12, atol=1e-14)
        numbers = {"0.weight": 72, "0.bias": 8, "2.weight": 432, "2.bias": 6, "5.weight": 960, "5.bias": 10}
        assert full == 5 * 8 * sum(numbers.values())
        assert sent == 5 * 8 * (sum(numbers.values()) - 36 - 4 - 216)
