"""Grids that are trained with their bytes in the loss (`prunus.quantisation.trained`): float training,
structured pruning in one shot where it helps, and then the grids; beside them the float network, trained on
for as many epochs. With and without augmented images, and with and without the float network as a teacher,
which is trained on the same images.

`COURSES` is the one place of what is chosen, by held-out training samples.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from torch import nn

from benchmarks.coding_files import MODULE, RESULT, code_of, file_of, key_of, parameters, tell
from benchmarks.coding_floats import (
    SOURCES,
    accuracies,
    called,
    config,
    how,
    task_of,
    trained_float,
    trained_on,
)
from benchmarks.coding_table import TRAINED
from benchmarks.rows import Row, add, measured_before
from benchmarks.small_maps import small_maps_as_products
from prunus.methods.shrinking import shrink
from prunus.quantisation.trained import train_on_grids
from prunus.tasks import Task

ADAM = {"optimizer": "adam", "weight_decay": 0.0, "schedule": "cosine"}
_DIGITS = {"batch_size": 128, "lr": 3e-3}


@dataclass(frozen=True)
class Course:
    """How grids are trained.

    Attributes:
        params: what one-shot pruning leaves first, a share of all; 1 = nothing is pruned.
        rates: what a thousand bytes add to the loss, one row each.
        settings: of the training.
    """

    params: float
    rates: tuple[float, ...]
    settings: dict[str, Any] = field(default_factory=dict)


COURSES = {
    "lenet5": Course(0.1, (0.022, 0.04), ADAM | _DIGITS | {"channels_last": True, "epochs": 25}),
    "lenet300": Course(0.2, (0.022,), ADAM | _DIGITS | {"epochs": 30}),
    "resnet56": Course(1, (0.002,), ADAM | {"epochs": 8, "lr": 1e-3}),
    "vgg16_bn": Course(0.3, (0.0005,), ADAM | {"epochs": 6, "lr": 1e-3}),
}
WAYS = {  # whether images are augmented, whether the float network teaches
    "plain": (False, False),
    "augmented": (True, False),
    "taught": (False, True),
    "augmented, taught": (True, True),
}


def trained(result: Row, options: argparse.Namespace) -> None:
    """Rows of trained grids."""
    task, course = task_of(options), COURSES[options.network]
    options.called = called(options)
    for way in fnmatch.filter(WAYS, options.ways or "*"):
        for rate, seed in product(options.rates or course.rates, options.seeds):
            key = key_of(options, TRAINED, way, rate, seed)
            if not measured_before(result, key):
                with small_maps_as_products():
                    row = key | measured(options, task, key)
                chosen = asdict(course) | {"source": asdict(SOURCES[options.network])}
                add(RESULT, result, row, how(MODULE, seed, chosen))
                tell(row)


def measured(options: argparse.Namespace, task: Task, key: Row) -> Row:
    """Train a network on grids, write its file, and measure what is in it."""
    network, seed = key["network"], key["seed"]
    course, (augmented, taught) = COURSES[network], WAYS[key["way"]]
    before = trained_float(options, task, seed, augmented)
    file = file_of(options.models, key)
    checkpoint = file.with_suffix(".checkpoint")
    found = train_on_grids(
        narrowed(before, task, course.params, seed),
        task,
        rate=key["setting"],
        config=config(network, seed, augmented, course.settings),
        teacher=before if taught else None,
        validation=None,
        checkpoint=checkpoint,
        resume=True,
    )
    row = code_of(file, found.model, found.tensors)
    checkpoint.unlink()
    control = trained_on(options, task, before, seed, augmented, course.settings["epochs"])
    row["dense"] = parameters(before)
    return row | accuracies(task, before=before, control=control, after=found.model)


def narrowed(model: nn.Module, task: Task, params: float, seed: int) -> nn.Module:
    """The network with a share of its parameters, by one-shot pruning without tuning; all of it at 1."""
    if params >= 1:
        return copy.deepcopy(model)
    return shrink(model, task, params=params, seed=seed).model
