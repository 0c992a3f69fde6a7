"""One way to make a trained network small, as `benchmarks.every_method` measures it, and what it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from benchmarks.recipe import settings
from benchmarks.tuned_networks import Lesson
from prunus.methods.common import Journal
from prunus.tasks import Task
from prunus.training import TrainConfig

Kind = Literal["score", "method", "samples", "control"]


@dataclass(frozen=True, eq=False)
class Course:
    """What a way has to go on.

    Attributes:
        lesson: the trained network, the samples, the share of the MACs that is left, and the seed.
        task: the samples once more, without those that are reported on.
        network: its name.
        epochs: in all.
        lr: peak learning rate of every training.
        folder: for checkpoints.
        name: of the files there.
    """

    lesson: Lesson
    task: Task
    network: str
    epochs: int
    lr: float
    folder: Path
    name: str

    @property
    def half(self) -> int:
        """Of the epochs, at least one: for methods that train before they remove."""
        return max(1, self.epochs // 2)

    def config(self, epochs: int, **changed: Any) -> TrainConfig:
        """A training of so many epochs."""
        return settings(epochs, self.lr, self.lesson.seed, **changed)

    def steps(self, epochs: int) -> int:
        """Of a training."""
        return epochs * -(-len(self.lesson.about.train) // self.config(1).batch_size)

    @property
    def journal(self) -> Journal:
        """A training of a method that was broken off goes on."""
        return Journal(self.folder / f"{self.name}.begin", resume=True)


@dataclass(frozen=True, eq=False)
class Begun:
    """What a way makes of the network.

    Attributes:
        network: as small as is asked for.
        spent: epochs that went into it; the others are for tuning.
        alone: share of the MACs that the method left by itself, where it finds its own size.
    """

    network: nn.Module
    spent: int = 0
    alone: float | None = None


Begin = Callable[[Course], Begun]


@dataclass(frozen=True, eq=False)
class Way:
    """One row of the table.

    Attributes:
        kind: what it is a row of.
        begin: makes the small network.
        samples: (course, network) -> what chooses the samples of the tuning; None = all of them.
        listed: the name under which `prunus methods` shows it; none for variants and controls.
    """

    kind: Kind
    begin: Begin
    samples: Callable[[Course, nn.Module], Any] | None = None
    listed: str = ""
