"""The samples and the trained float networks that `benchmarks.coding trained` and `paper` start from: LeNets
on MNIST, ResNet-56 and VGG-16 on CIFAR-10; and the control, the same network trained on as long as its grids
are.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.methods_subjects import IMAGENET
from benchmarks.recipe import settings
from benchmarks.rows import Record, Row, record
from prunus import data, models
from prunus.models import load_weights
from prunus.tasks import Task
from prunus.training import TrainConfig

MNIST, PICTURES = "MNIST", "CIFAR-10"


@dataclass(frozen=True)
class Source:
    """Where a float network comes from.

    Attributes:
        data: the data set's name in prunus.
        held: share of the training samples that what is chosen is chosen by; none is trained on.
        recipe: how the network is trained, from scratch or from the weights that the command names.
        on: how it is trained on in the control.
        shift: pixels by which augmented images are shifted at most; 0 = as is usual for the data.
    """

    data: str
    held: float
    recipe: dict[str, Any]
    on: dict[str, Any]
    shift: int = 0


_DIGITS = {"batch_size": 128, "schedule": "onecycle", "weight_decay": 5e-4}
_IMAGES = _DIGITS | {"channels_last": True}  # a third less time, on the processors tried
SOURCES = {
    "lenet5": Source("mnist", 0.05, _IMAGES | {"epochs": 10, "lr": 0.05}, _IMAGES | {"lr": 0.05}, 2),
    "lenet300": Source("mnist", 0.05, _DIGITS | {"epochs": 30, "lr": 0.05}, _DIGITS | {"lr": 0.05}, 1),
    "resnet56": Source("cifar10", 0.1, {"epochs": 12, "lr": 0.02}, {"lr": 0.02}),
    "vgg16_bn": Source("cifar10", 0.1, {"epochs": 10, "lr": 0.05}, {"lr": 0.02}),
}


def task_of(options: argparse.Namespace) -> Task:
    """The task of a network: test samples are reported on alone."""
    source = SOURCES[options.network]
    images = data.load(source.data, options.data)
    kept, held = images.hold_out(source.held)
    normalise = images.normalise if source.data == "mnist" else IMAGENET
    return Task(train=kept, validation=held, test=images.test, normalise=normalise, name=called(options))


def called(options: argparse.Namespace) -> str:
    """What the tables call the data."""
    return MNIST if SOURCES[options.network].data == "mnist" else options.called


def config(network: str, seed: int, augmented: bool, changed: dict[str, Any]) -> TrainConfig:
    """How a network is trained: as `changed` has it, on augmented samples or as they are."""
    if SOURCES[network].data == "mnist":
        shifted = {"augment": "crop", "shift": SOURCES[network].shift}
        images = shifted if augmented else {"augment": "none"}
        return TrainConfig(seed=seed, **images | changed)
    epochs, lr = changed["epochs"], changed["lr"]
    others = {name: value for name, value in changed.items() if name not in ("epochs", "lr")}
    return settings(epochs, lr, seed, augment="crop-flip" if augmented else "none", **others)


def trained_float(options: argparse.Namespace, task: Task, seed: int, augmented: bool) -> nn.Module:
    """A trained network, or the one that an earlier run left in --models."""
    recipe = SOURCES[options.network].recipe
    torch.manual_seed(seed)
    model = models.build(options.network, num_classes=10)
    if options.weights:
        load_weights(model, options.weights)
    return _kept(options, task, model, "float", config(options.network, seed, augmented, recipe))


def trained_on(
    options: argparse.Namespace, task: Task, before: nn.Module, seed: int, augmented: bool, epochs: int
) -> nn.Module:
    """The control: a float network trained for so many epochs more."""
    more = SOURCES[options.network].on | {"epochs": epochs}
    return _kept(
        options, task, copy.deepcopy(before), "control", config(options.network, seed, augmented, more)
    )


def _kept(
    options: argparse.Namespace, task: Task, model: nn.Module, kind: str, settings: TrainConfig
) -> nn.Module:
    """Trained in place, unless there is a file; what was broken off goes on."""
    images = "plain" if settings.augment == "none" else "augmented"
    name = f"{options.network}-{kind}-{images}-{settings.epochs}-{settings.seed}"
    file: Path = options.models / f"{name}.pth"
    if file.exists():
        load_weights(model, file)
        return model.eval()
    file.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = file.with_suffix(".checkpoint")
    task.fit(model, settings, validation=None, checkpoint=checkpoint, resume=True)
    torch.save(model.state_dict(), file)
    checkpoint.unlink()
    return model.eval()


def accuracies(task: Task, **networks: nn.Module) -> Row:
    """What a row says of accuracies [%] of networks by name: of test samples, and of held-out ones to choose
    by.
    """
    return {
        "samples": task.count("test"),
        "accuracy": {name: round(task.value(one), 2) for name, one in networks.items()},
        "held_out": {name: round(task.value(one, "validation"), 2) for name, one in networks.items()},
    }


def how(module: str, seed: int, settings: dict[str, Any]) -> Record:
    """The record of a row with the settings that no option says."""
    return record(module, "numba", seed=seed) | {"settings": settings}
