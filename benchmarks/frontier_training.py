"""One training of `benchmarks.frontier`, and what it costs."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

import prunus
from benchmarks.frontier_variants import FREEZE, HALF, LISTENING, TEACHER, Variant
from benchmarks.recipe import settings
from benchmarks.rows import Row
from benchmarks.twofold_variants import Selected
from prunus import models, scores
from prunus.methods.common import Journal
from prunus.methods.soft import SoftPruning
from prunus.methods.twofold import twofold
from prunus.plans.plan import Plan
from prunus.runs.control import whole_epochs
from prunus.tasks import Task
from prunus.training import Curriculum, EpochRecord, Taught, TrainConfig, taught

GROWING = ("first_size", "full_size_from")  # settings of images that grow
TEACHERS_SEED = 1000  # beside that of its pupil
CLASSES, WIDTHS = 10, 8  # widths are multiples of what processors compute at once


@dataclass(frozen=True, eq=False)
class Subject:
    """What is trained, and on what.

    Attributes:
        task: the samples; accuracies are of its test samples.
        network: by name.
        augment: of the images.
        image_shape: (planes, height, width).
        epochs: of the full schedule.
        compiled: trainings run through `torch.compile`, which changes their time alone.
    """

    task: Task
    network: str
    augment: str
    image_shape: tuple[int, ...]
    epochs: int
    compiled: bool = False

    @property
    def example(self) -> Tensor:
        """One input."""
        return torch.zeros(1, *self.image_shape)

    @property
    def samples(self) -> int:
        """In an epoch on all of them."""
        return len(self.task.train)

    def config(self, epochs: int, lr: float, seed: int, **changed: Any) -> TrainConfig:
        """The settings of a training, but for those that are changed; LeNets take images of one size only."""
        if self.network.startswith("lenet"):
            changed = {name: value for name, value in changed.items() if name not in GROWING}
        usual: dict[str, Any] = {"augment": self.augment, "compile": self.compiled}
        return settings(epochs, lr, seed, **usual | changed)

    def chosen(self, variant: Variant, budget: float, seed: int) -> tuple[Curriculum | None, Selected | None]:
        """What chooses the samples, and what it was made of; none where all of them are trained on."""
        if variant.choose is None:
            return None, None
        selected = Selected(self.task.samples("train"), self.task.normalisation, seed)
        return variant.choose(selected, budget), selected

    def dense(self, seed: int) -> nn.Module:
        """With random weights."""
        torch.manual_seed(seed)
        planes, side = self.image_shape[0], self.image_shape[-1]
        shape: dict[str, Any] = {}
        if self.network.startswith("lenet"):
            shape = {"in_channels": planes, "image_size": side}
        return models.build(self.network, num_classes=CLASSES, **shape)

    @cached_property
    def rate(self) -> float:
        """The share of all filters whose removal leaves half of the MACs, or as near as widths allow."""
        tried = [round(0.02 * number, 2) for number in range(5, 31)]
        return min(tried, key=lambda rate: abs(self.left(self.plan(self.dense(0), rate)) - HALF))

    def plan(self, network: nn.Module, rate: float) -> Plan:
        """Without the shortest filters of a network."""
        graph = prunus.trace(network, self.example)
        return prunus.plan(graph, scores.norm(graph, 2), rate=rate, round_to=WIDTHS)

    @staticmethod
    def left(plan: Plan) -> float:
        """Share of the MACs."""
        return float(plan.after.macs / plan.before.macs)

    def small(self, seed: int) -> tuple[nn.Module, float]:
        """The shape that is left, with weights of its own, and its share of the MACs."""
        dense = self.dense(seed)
        plan = self.plan(dense, self.rate)
        network = prunus.compact(dense, plan)
        torch.manual_seed(seed)
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return network, self.left(plan)


class Stopwatch:
    """The time of this process, kept in a file beside the checkpoint, so that a training that was broken off
    goes on counting.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds: float = json.loads(file.read_text()) if file.exists() else 0.0
        self._from = time.process_time()

    def told(self, step: str, epoch: EpochRecord) -> None:
        """After every epoch."""
        now = time.process_time()
        self.seconds, self._from = self.seconds + now - self._from, now
        self._file.write_text(json.dumps(self.seconds))
        print(f"{self._file.stem}: epoch {epoch.epoch}, loss {epoch.loss:.3f}", flush=True)


def measured(subject: Subject, variant: Variant, key: Row, partial: Path) -> dict[str, Any]:
    """Train, and measure accuracy, time and cost.

    `cost` is what the epochs cost together, samples times MACs at the size of their images, of what the full
    schedule of the dense network costs on as many samples; choosing samples is in the seconds only.
    """
    if variant.taught:
        return distilled(subject, key, partial)
    seed = key["seed"]
    network, share = subject.small(seed) if variant.small else (subject.dense(seed), 1.0)
    config = subject.config(key["trained_epochs"], key["lr"], seed, **variant.config)
    pruning = softly(subject, variant.freeze) if variant.removal else None
    clock = Stopwatch(partial.with_suffix(".seconds"))
    curriculum, selected = subject.chosen(variant, key["budget"], seed)
    outcome = twofold(
        network,
        subject.task,
        pruning=pruning,
        curriculum=curriculum,
        config=config,
        # so that every epoch is trained, and timed, in one piece
        journal=Journal(partial, math.inf, resume=True, on_epoch=clock.told),
    )
    history = outcome.training
    assert history is not None
    left = subject.left(outcome.plan)
    frozen = pruning.record[-1].epoch + 1 if pruning is not None else None
    samples = subject.samples
    return {
        "accuracy": round(cast(float, outcome.metric), 3),
        "cost": round(share * whole_epochs(history, samples, frozen, left) / subject.epochs, 4),
        "samples": float(np.mean([epoch.samples for epoch in history.epochs])) / samples,
        "macs_left": round(share * left, 4),
        "seconds": round(clock.seconds, 2),
        "choosing_seconds": round(
            sum(epoch.choosing_seconds for epoch in history.epochs) + (selected.seconds if selected else 0), 2
        ),
    }


def distilled(subject: Subject, key: Row, partial: Path) -> dict[str, Any]:
    """The same of a network that a quickly trained one teaches: from other random weights, with its own
    schedule.
    """
    clock, seed, epochs = Stopwatch(partial.with_suffix(".seconds")), key["seed"], key["trained_epochs"]
    first, quick = partial.with_suffix(".teacher"), max(1, round(TEACHER * epochs))

    def fit(network: nn.Module, length: int, checkpoint: Path, **options: Any) -> None:
        subject.task.fit(
            network,
            subject.config(length, key["lr"], seed),
            checkpoint=checkpoint,
            checkpoint_seconds=math.inf,
            resume=True,
            on_epoch=lambda epoch: clock.told("distillation", epoch),
            **options,
        )

    teacher, network = subject.dense(seed + TEACHERS_SEED), subject.dense(seed)
    fit(teacher, quick, first)
    fit(Taught(network, teacher), epochs, partial, loss=taught)
    first.unlink()
    return {
        "accuracy": round(subject.task.value(network.eval()), 3),
        "cost": round((quick + (1 + LISTENING) * epochs) / subject.epochs, 4),
        "samples": 1.0,
        "macs_left": 1.0,
        "seconds": round(clock.seconds, 2),
        "choosing_seconds": 0.0,
    }


def softly(subject: Subject, freeze: float = FREEZE) -> SoftPruning:
    """To half of the MACs, removed where filters are frozen."""
    return SoftPruning(subject.example, subject.rate, freeze=freeze, round_to=WIDTHS)
