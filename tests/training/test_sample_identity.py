"""The loss that a curriculum is told of sample i is the loss of sample i: after shuffling, with weights and a
choice, on every process, after a resume.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tests.breaks import StopError, stopping
from tests.training.test_distributed import together
from torch import Tensor, nn

from prunus.data import load
from prunus.selection import Selection
from prunus.training import TrainConfig, train
from prunus.training.distributed import Ranks

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(0, 1442, 9))  # 161, which no number of processes shares evenly
STANDING = 1e-300  # a learning rate at which the weights stay what they are, so that every loss is known


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10)).double()


def wanted() -> Tensor:
    """The loss of every sample, one by one."""
    model, (mean, std) = network(), DIGITS.normalise
    losses = []
    for image, label in zip(FEW.images, FEW.labels, strict=True):
        scaled = (image.double()[None] / 255 - mean[0]) / std[0]
        losses.append(F.cross_entropy(model(scaled), label[None]).item())
    assert len({round(loss, 6) for loss in losses}) > 150, "losses must tell samples apart"
    return torch.tensor(losses, dtype=torch.float64)


class Told:
    """Trains on other samples in every epoch, with weights in some, and checks all that it is told."""

    def __init__(self) -> None:
        self.wanted, self.times = wanted(), torch.zeros(len(FEW), dtype=torch.int64)
        self.chosen: list[int] = []

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        draw = torch.Generator().manual_seed(epoch)
        kept = (torch.rand(len(FEW), generator=draw) < 0.6).numpy() if epoch % 2 else None
        self.chosen.append(epoch)
        if kept is None:
            return None
        weights = torch.rand(len(FEW), generator=draw).numpy() if epoch % 4 == 3 else None
        return Selection(kept, weights)

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        torch.testing.assert_close(losses.double(), self.wanted[samples], rtol=1e-9, atol=1e-9)
        self.times[samples] += 1

    def state(self) -> dict[str, Any]:
        return {"times": self.times}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.times = state["times"]


def expected(epochs: int) -> Tensor:
    """How often every sample is seen."""
    times = torch.zeros(len(FEW), dtype=torch.int64)
    for epoch in range(epochs):
        draw = torch.Generator().manual_seed(epoch)
        times += (torch.rand(len(FEW), generator=draw) < 0.6) if epoch % 2 else torch.ones_like(times)
    return times


def told(epochs: int = 4, **changes: Any) -> Told:
    curriculum = Told()
    options = {key: changes.pop(key) for key in ("checkpoint", "resume", "on_step") if key in changes}
    config = TrainConfig(**{"epochs": epochs, "batch_size": 20, "lr": STANDING, **changes})
    train(
        network(),
        FEW,
        config,
        normalise=DIGITS.normalise,
        curriculum=curriculum,
        checkpoint_seconds=0.0,
        **options,
    )
    return curriculum


@pytest.mark.parametrize(
    "changes",
    [{}, {"same_steps": True}, {"batch_size": 7}, {"optimizer": "adamw"}, {"ema": 0.9, "clip": 1.0}],
)
def test_the_loss_of_a_sample_is_its_own_after_shuffling(changes: dict[str, Any]) -> None:
    assert torch.equal(told(**changes).times, expected(4))


def test_a_curriculum_that_is_told_of_other_samples_would_fail() -> None:
    """The check itself: the same losses in another order are found out."""
    with pytest.raises(AssertionError):
        Told().observe(torch.arange(10), wanted()[:10].flip(0), torch.ones(10))


@pytest.mark.parametrize("stops", [(3,), (8, 1, 9), (12, 4)])
def test_the_loss_of_a_sample_is_its_own_after_a_resume(tmp_path: Path, stops: tuple[int, ...]) -> None:
    path = tmp_path / "checkpoint"
    for stop in stops:
        with pytest.raises(StopError):
            told(checkpoint=path, resume=True, on_step=stopping(stop))
    assert torch.equal(told(checkpoint=path, resume=True).times, expected(4))


def shared(path: Path) -> Any:
    """What every process is told, in one go and after a break."""

    def stop(done: int, total: int) -> None:
        if done == 13:
            dist.barrier()
            raise StopError

    whole = told()
    with suppress(StopError):
        told(checkpoint=path, resume=True, on_step=stop)
    resumed = told(checkpoint=path, resume=True)
    return whole.times, resumed.times, whole.chosen if Ranks.current().first else []


@pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch was built without gloo"
)
def test_the_loss_of_a_sample_is_its_own_on_every_process(tmp_path: Path) -> None:
    found = together(shared, tmp_path, tmp_path / "checkpoint")
    for whole, resumed, _ in found:
        assert torch.equal(whole, expected(4)) and torch.equal(resumed, expected(4))
    assert found[0][2] == [0, 1, 2, 3]
