"""LeNet-5 and LeNet-300-100 on MNIST for `benchmarks.coding`: the samples, and the trained float networks
that everything else starts from.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.rows import Record, Row, record
from prunus import data, models
from prunus.models import load_weights
from prunus.tasks import Task
from prunus.training import TrainConfig

MNIST = "MNIST"
HELD = 0.05  # of the training samples: what is chosen is chosen by them; none is trained on
FLOAT: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 128,
    "lr": 0.05,
    "schedule": "onecycle",
    "weight_decay": 5e-4,
}


def digits(options: argparse.Namespace) -> Task:
    """The task: test samples are reported on alone."""
    images = data.load("mnist", options.data)
    kept, held = images.hold_out(HELD)
    return Task(train=kept, validation=held, test=images.test, normalise=images.normalise, name=MNIST)


def augmentation(augmented: bool) -> dict[str, Any]:
    """Shifts by up to two pixels, or none."""
    return {"augment": "crop", "shift": 2} if augmented else {"augment": "none"}


def trained_float(options: argparse.Namespace, task: Task, seed: int, augmented: bool) -> nn.Module:
    """A network trained from scratch, or the one that an earlier run left in --models."""
    kind = "augmented" if augmented else "plain"
    file: Path = options.models / f"{options.network}-float-{kind}-{FLOAT['epochs']}-{seed}.pth"
    torch.manual_seed(seed)
    model = models.build(options.network, num_classes=10)
    if file.exists():
        load_weights(model, file)
        return model.eval()
    task.fit(model, TrainConfig(**FLOAT, **augmentation(augmented), seed=seed), validation=None)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), file)
    return model.eval()


def errors(task: Task, before: nn.Module, after: nn.Module) -> Row:
    """What a row says of accuracies [%]: of test samples, and of held-out ones to choose by."""
    return {
        "samples": task.count("test"),
        "accuracy": {"before": round(task.value(before), 2), "after": round(task.value(after), 2)},
        "held_out": {
            "before": round(task.value(before, "validation"), 2),
            "after": round(task.value(after, "validation"), 2),
        },
    }


def how(module: str, seed: int, settings: dict[str, Any]) -> Record:
    """The record of a row with the settings that no option says."""
    return record(module, "numba", seed=seed) | {"settings": settings}
