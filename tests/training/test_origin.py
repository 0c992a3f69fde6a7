"""What a training was begun with: who resumes it with something else is told what, and where."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from prunus import selection
from prunus.data import Split
from prunus.errors import ConfigError
from prunus.methods import Journal
from prunus.methods.slimming import slimming
from prunus.methods.soft import SoftPruning
from prunus.tasks import Samples, Task
from prunus.training import TrainConfig, train
from prunus.training.origin import contents

IMAGES = torch.randint(256, (16, 1, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.arange(16) % 3
SAMPLES = Split(IMAGES, LABELS)
CONFIG = TrainConfig(epochs=3, batch_size=8, lr=0.01)
EXAMPLE = torch.zeros(1, 1, 6, 6)


class BrokenOffError(Exception):
    """Ends a training."""


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 3))


def begun(file: Path, until: int | None = None, **changed: Any) -> None:
    """A training that ends after an epoch, or goes on to its end."""

    def stop(record: Any) -> None:
        if record.epoch == until:
            raise BrokenOffError

    model = network()
    step: Callable[[Any], Any] | None = changed.pop("step", None)
    given: dict[str, Any] = {"data": SAMPLES, "config": CONFIG, "normalise": ([0.5], [0.2])} | changed
    if step is not None:
        given["optimizer"] = step(model.parameters())
    with suppress(BrokenOffError):
        train(model, checkpoint=file, resume=until is None, on_epoch=stop, **given)


def sgd(**settings: Any) -> Callable[[Any], Any]:
    return partial(torch.optim.SGD, lr=0.1, **settings)


def batches(images: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(images[:8].float(), LABELS[:8]), (images[8:].float(), LABELS[8:])]


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any], str]] = {
    "images": (dict, lambda: {"data": Split(255 - IMAGES, LABELS)}, "on other samples than these"),
    "labels": (dict, lambda: {"data": Split(IMAGES, LABELS.flip(0))}, "on other samples than these"),
    "batches": (
        lambda: {"data": batches(IMAGES)},
        lambda: {"data": batches(255 - IMAGES)},
        "on other samples than these",
    ),
    "normalise": (dict, lambda: {"normalise": ([0.1], [0.2])}, r"normalise = \[\[0.5\], \[0.2\]\], not"),
    "loss": (dict, lambda: {"loss": nn.functional.multi_margin_loss}, "loss = 'cross-entropy', not 'multi_m"),
    "a constant of the loss": (
        lambda: {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
        lambda: {"loss": nn.CrossEntropyLoss()},
        "loss.label_smoothing = 0.1, not 0.0",
    ),
    "optimiser": (
        lambda: {"step": sgd(momentum=0.9)},
        lambda: {"step": torch.optim.Adam},
        "'SGD', not 'Adam'",
    ),
    "the other way": (
        lambda: {"step": torch.optim.Adam},
        lambda: {"step": sgd(momentum=0.9)},
        "optimizer = 'Adam', not 'SGD'",
    ),
    "its momentum": (
        lambda: {"step": sgd(momentum=0.9)},
        lambda: {"step": sgd(momentum=0.5)},
        "optimizer.momentum = 0.9, not 0.5",
    ),
    "curriculum": (
        lambda: {"curriculum": selection.Random(16, 0.5)},
        lambda: {"curriculum": selection.Static(np.arange(16.0), 0.5)},
        "curriculum = 'Random', not 'Static'",
    ),
    "its share": (
        lambda: {"curriculum": selection.Scheduled(selection.Random(16, 0.5), LABELS)},
        lambda: {"curriculum": selection.Scheduled(selection.Random(16, 0.9), LABELS)},
        "curriculum.chooser.keep = 0.5, not 0.9",
    ),
    "its scores": (
        lambda: {"curriculum": selection.Static(np.arange(16.0), 0.5)},
        lambda: {"curriculum": selection.Static(-np.arange(16.0), 0.5)},
        "curriculum.scores = 'array ",
    ),
    "pruning": (
        lambda: {"pruning": SoftPruning(EXAMPLE, 0.3)},
        lambda: {"pruning": SoftPruning(EXAMPLE, 0.6)},
        "pruning.rate = 0.3, not 0.6",
    ),
    "samples to choose by": (
        lambda: {"validation": SAMPLES, "config": TrainConfig(epochs=3, keep="best")},
        lambda: {"validation": SAMPLES.subset(torch.arange(8)), "config": TrainConfig(epochs=3, keep="best")},
        "on other samples to choose by",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_training_is_told(change: str, tmp_path: Path) -> None:
    """All of these went on in silence, to weights that neither training has, or ended in a KeyError."""
    before, after, told = CHANGES[change]
    file = tmp_path / "checkpoint.safetensors"
    begun(file, 1, **before())
    with pytest.raises(ConfigError, match=told):
        begun(file, **after())
    begun(file, **before())


def test_what_changes_no_weight_may_change(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.safetensors"
    begun(file, 1, pruning=SoftPruning(EXAMPLE, 0.3), step=sgd(foreach=False))
    again = SoftPruning(torch.ones(2, 1, 6, 6), 0.3, remove=False)
    begun(file, pruning=again, step=sgd(), validation=SAMPLES)


def test_the_settings_of_a_method_are_told(tmp_path: Path) -> None:
    """They are in no recipe where the method is called from Python."""
    file, task = tmp_path / "checkpoint.safetensors", Task(SAMPLES, normalise=([0.5], [0.2]))
    slimming(network(), task, strength=1e-3, rate=0.5, config=CONFIG, journal=Journal(file))
    again = Journal(file, resume=True)
    with pytest.raises(ConfigError, match=r"method.strength = 0.001, not 0.01"):
        slimming(network(), task, strength=1e-2, rate=0.5, config=CONFIG, journal=again)
    slimming(network(), task, strength=1e-3, rate=0.5, config=CONFIG, journal=again)


def test_contents_are_of_what_lies_in_memory() -> None:
    held: list[Any] = [
        SAMPLES,
        Samples(IMAGES, LABELS),
        batches(IMAGES),
        DataLoader(TensorDataset(IMAGES, LABELS)),
    ]
    other = [Split(IMAGES, LABELS + 1), Samples(IMAGES, LABELS + 1), batches(255 - IMAGES)]
    other.append(DataLoader(TensorDataset(IMAGES, LABELS + 1)))
    assert all(contents(one) == contents(one) != contents(two) for one, two in zip(held, other))
    assert contents(range(3)) is None and contents(None) is None
