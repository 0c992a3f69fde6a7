"""Batches that somebody else makes, losses and measures of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from prunus.data import load
from prunus.errors import ConfigError, DataError
from prunus.selection import Random
from prunus.training import EpochRecord, TrainConfig, batches, train
from prunus.training.calls import samples_in
from prunus.training.stream import Stream

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(0, 1442, 9))
HELD = DIGITS.train.subset(torch.arange(1, 1442, 30))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.2), nn.Linear(20, 10)
    )


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def loader() -> DataLoader[Any]:
    ((images, labels),) = batches(FEW, DIGITS.normalise, len(FEW))
    return DataLoader(TensorDataset(images, labels), batch_size=50, shuffle=True)


class Twice:
    """The batches of a split, in the order that training on the split would take them, so that both can be
    compared.
    """

    def __init__(self, epochs: int, config: TrainConfig) -> None:
        generator = torch.Generator().manual_seed(config.seed)
        self.passes = [
            list(batches(FEW, DIGITS.normalise, config.batch_size, generator=generator))
            for _ in range(epochs)
        ]

    def __len__(self) -> int:
        return len(self.passes[0])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.passes.pop(0))


def test_batches_train_what_the_samples_train() -> None:
    config = TrainConfig(epochs=2, batch_size=50, lr=0.05)
    first, second = network(), network()
    ours = train(first, FEW, config, normalise=DIGITS.normalise, validation=HELD)
    theirs = train(second, Twice(2, config), config, normalise=DIGITS.normalise, validation=HELD)
    assert same(first, second)
    for mine, other in zip(ours.epochs, theirs.epochs, strict=True):
        assert (mine.loss, mine.accuracy, mine.samples, mine.validation_loss) == (
            other.loss,
            other.accuracy,
            other.samples,
            other.validation_loss,
        )


def test_a_training_on_a_data_loader_resumes_to_the_same_weights(tmp_path: Path) -> None:
    config = TrainConfig(epochs=4, lr=0.02, batch_size=64)
    whole, broken, resumed = network(), network(), network()
    train(whole, loader(), config)

    class BrokenOffError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 10:  # in the middle of the third epoch
            raise BrokenOffError

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(BrokenOffError):
        train(broken, loader(), config, checkpoint=path, checkpoint_seconds=0.0, on_step=stop)
    train(resumed, loader(), config, checkpoint=path, resume=True)
    assert same(whole, resumed)
    with pytest.raises(ConfigError, match="on 4 batches, not 1"):
        train(network(), [next(iter(loader()))], config, checkpoint=path, resume=True)


class Denoiser(nn.Module):
    """Two inputs, a picture as output: nothing of a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        out: Tensor = self.convolution(torch.cat([image, noise], 1))
        return out


def test_any_model_and_any_loss() -> None:
    torch.manual_seed(0)
    images = torch.rand(60, 1, 8, 8)
    pairs = [((part, torch.randn_like(part)), part) for part in images.split(20)]
    model = Denoiser()
    history = train(
        model,
        pairs,
        TrainConfig(epochs=30, lr=0.2, channels_last=True, batch_size=64),
        loss=lambda outputs, targets: (outputs - targets).square().mean((1, 2, 3)),
        validation=lambda model: -float((model(*pairs[0][0]) - pairs[0][1]).square().mean()),
    )
    first, last = history.epochs[0], history.epochs[-1]
    assert last.loss < 0.2 * first.loss
    assert first.accuracy is None and last.validation_loss is None
    assert last.validation_accuracy == pytest.approx(-last.loss, rel=0.5)


def test_several_inputs_come_from_a_data_loader_too() -> None:
    """Its default way of putting samples together makes a list of what was a tuple."""
    samples = [((torch.rand(1, 8, 8), torch.rand(1, 8, 8)), torch.rand(1, 8, 8)) for _ in range(6)]
    loader: Any = DataLoader(samples, batch_size=3)  # type: ignore[arg-type]
    history = train(Denoiser(), loader, TrainConfig(epochs=1, batch_size=64, lr=0.05), loss=F.mse_loss)
    assert history.epochs[0].samples == 6


def test_a_loss_of_ones_own_is_the_one_that_is_minimised() -> None:
    config = TrainConfig(epochs=2, batch_size=64, lr=0.05)
    first, second = network(), network()
    train(first, FEW, config, normalise=DIGITS.normalise)
    train(second, FEW, config, normalise=DIGITS.normalise, loss=F.cross_entropy)
    assert same(first, second)
    third = network()
    train(
        third,
        FEW,
        config,
        normalise=DIGITS.normalise,
        loss=lambda logits, labels: F.multi_margin_loss(logits, labels),
    )
    assert not same(first, third)


def test_a_curriculum_needs_the_losses_of_the_samples() -> None:
    config = TrainConfig(epochs=1, batch_size=64, lr=0.05)
    curriculum = Random(len(FEW), 0.5)
    with pytest.raises(
        ConfigError,
        match=r"the loss of every sample, shape \(\d+,\); this one gives \(\): use reduction='none'",
    ):
        train(network(), FEW, config, normalise=DIGITS.normalise, loss=F.cross_entropy, curriculum=curriculum)
    first, second = network(), network()
    train(first, FEW, config, normalise=DIGITS.normalise, curriculum=curriculum)
    loss = lambda logits, labels: F.cross_entropy(logits, labels, reduction="none")  # noqa: E731
    train(second, FEW, config, normalise=DIGITS.normalise, curriculum=curriculum, loss=loss)
    assert same(first, second)


class Unsized:
    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Short(Unsized):
    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (Unsized(), {}, r"A Unsized does not know how many batches it has.*needs len\(\)"),
        ([], {}, "no batches to train on"),
        (Short(), {}, r"The Short ended before batch 1 of the 3"),
        ([torch.zeros(2, 3)], {}, r"must be a pair \(inputs, targets\), not a tensor"),
        (loader(), {"curriculum": Random(10, 0.5)}, "give them as a Split"),
        (loader(), {"validation": HELD}, "Samples need `normalise`"),
        (FEW, {}, "Samples need `normalise`"),
        (
            loader(),
            {"loss": F.cross_entropy, "config": TrainConfig(label_smoothing=0.1, batch_size=64, lr=0.05)},
            "label_smoothing belongs to the built-in",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_said(data: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words):
        train(
            network(), data, options.pop("config", TrainConfig(epochs=1, batch_size=64, lr=0.05)), **options
        )


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    scores = iter([1.0, 3.0, 2.0, 3.0])
    snapshots: list[dict[str, Tensor]] = []

    def judge(model: nn.Module) -> float:
        snapshots.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(scores)

    model = network()
    history = train(
        model,
        FEW,
        TrainConfig(epochs=4, keep="best", ema=0.9, batch_size=64, lr=0.05),
        normalise=DIGITS.normalise,
        validation=judge,
    )
    assert history.kept == 2 and history.to_dict()["kept"] == 2
    assert all(torch.equal(value, snapshots[1][name]) for name, value in model.state_dict().items())
    with pytest.raises(ConfigError, match="The best epoch is told by validation samples"):
        train(network(), FEW, TrainConfig(keep="best", batch_size=64, lr=0.05), normalise=DIGITS.normalise)


def test_the_best_epoch_survives_a_break(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    config = TrainConfig(epochs=4, keep="best", batch_size=64, lr=0.05)

    class BrokenOffError(Exception):
        pass

    def stop(record: EpochRecord) -> None:
        if record.epoch == 3:
            raise BrokenOffError

    def run(scores: list[float], **options: Any) -> tuple[nn.Module, int]:
        model, left = network(), iter(scores)
        return model, train(
            model, FEW, config, normalise=DIGITS.normalise, validation=lambda _: next(left), **options
        ).kept

    whole, kept = run([1.0, 3.0, 2.0, 0.0])
    with pytest.raises(BrokenOffError):
        run([1.0, 3.0, 2.0], checkpoint=path, on_epoch=stop)
    resumed, kept_too = run([0.0], checkpoint=path, resume=True)
    assert kept == kept_too == 2
    assert same(whole, resumed)


@dataclass
class Scan:
    """An input of the user's own class."""

    image: Tensor
    where: Tensor


class OfScans(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, scan: Scan) -> Scan:
        return Scan(self.layer(scan.image), scan.where)


def test_objects_have_their_tensors_where_the_network_lies() -> None:
    torch.manual_seed(0)
    batches = [((Scan(torch.randn(6, 4), torch.arange(6)),), Scan(torch.randn(6, 2), torch.arange(6)))] * 2
    feed = Stream(batches, torch.device("cpu"), torch.float64, False)
    (scan,), target = feed(torch.tensor([0]), None)
    assert (scan.image.dtype, scan.where.dtype) == (torch.float64, torch.int64)
    assert target.image.dtype == torch.float32 and batches[0][0][0].image.dtype == torch.float32
    assert samples_in((scan,)) == 6
    model = OfScans().double()

    def loss(found: Scan, wanted: Scan) -> Tensor:
        return F.mse_loss(found.image, wanted.image.double())

    history = train(model, batches, TrainConfig(epochs=3, lr=0.1), loss=loss)
    assert history.epochs[-1].loss < history.epochs[0].loss
