"""Grids that are trained with their bytes in the loss (`prunus.quantisation.trained`), on MNIST: float
training, structured pruning in one shot, and then the grids; with and without shifted images and the float
network as a teacher, which is trained on the same images.

`SETTINGS` is the one place of what is chosen, by held-out training samples.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
from itertools import product
from typing import Any

from torch import nn

from benchmarks.coding_files import MODULE, RESULT, code_of, file_of, key_of, tell
from benchmarks.coding_lenets import FLOAT, MNIST, augmentation, digits, errors, how, trained_float
from benchmarks.coding_table import TRAINED
from benchmarks.rows import Row, add, measured_before
from prunus.methods.shrinking import shrink
from prunus.quantisation.trained import train_on_grids
from prunus.tasks import Task
from prunus.training import TrainConfig

# params: what one-shot pruning leaves, a share of all; rate: what a thousand bytes add to the loss.
COURSE: dict[str, Any] = {"epochs": 25, "batch_size": 128, "lr": 2e-3, "schedule": "cosine"}
SETTINGS: dict[str, dict[str, Any]] = {
    "lenet5": {"params": 0.1, "rates": (0.1,)} | COURSE,
    "lenet300": {"params": 0.5, "rates": (0.05,)} | COURSE,
}
WAYS = {  # whether images are shifted, whether the float network teaches
    "plain": (False, False),
    "shifted": (True, False),
    "taught": (False, True),
    "shifted, taught": (True, True),
}


def trained(result: Row, options: argparse.Namespace) -> None:
    """Rows of trained grids."""
    task, settings = digits(options), SETTINGS[options.network]
    options.called = MNIST
    for way in fnmatch.filter(WAYS, options.ways or "*"):
        for rate, seed in product(settings["rates"], options.seeds):
            key = key_of(options, TRAINED, way, rate, seed)
            if not measured_before(result, key):
                row = key | measured(options, task, key)
                add(RESULT, result, row, how(MODULE, seed, settings | {"float": FLOAT}))
                tell(row)


def measured(options: argparse.Namespace, task: Task, key: Row) -> Row:
    """Train a network on grids, write its file, and measure what is in it."""
    settings, (shifted, taught) = SETTINGS[key["network"]], WAYS[key["way"]]
    before = trained_float(options, task, key["seed"], shifted)
    config = TrainConfig(
        **{name: settings[name] for name in ("epochs", "batch_size", "lr", "schedule")},
        optimizer="adam",
        weight_decay=0.0,
        seed=key["seed"],
        **augmentation(shifted),
    )
    found = train_on_grids(
        narrowed(before, task, settings["params"], key["seed"]),
        task,
        rate=key["setting"],
        config=config,
        teacher=before if taught else None,
        validation=None,
    )
    return code_of(file_of(options.models, key), found.model, found.tensors) | errors(
        task, before, found.model
    )


def narrowed(model: nn.Module, task: Task, params: float, seed: int) -> nn.Module:
    """The network with a share of its parameters, by one-shot pruning without tuning; all of it at 1."""
    if params >= 1:
        return copy.deepcopy(model)
    return shrink(model, task, params=params, seed=seed).model
