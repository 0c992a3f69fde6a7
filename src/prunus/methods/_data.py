"""What methods ask a task for besides training and measuring: inputs, passes over a part, how many steps
there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from prunus.data.sets import Split
from prunus.errors import TargetError
from prunus.surgery.parts import is_core, whole
from prunus.tasks.placed import placed
from prunus.training.evaluation import placement
from prunus.training.feeding import batches, steps_per_epoch
from prunus.training.hooks import Pruning, Removal

if TYPE_CHECKING:
    from prunus.paint.inputs import Inputs
    from prunus.tasks import Task
    from prunus.tasks.metrics import Batch
    from prunus.tasks.task import Part
    from prunus.training import TrainConfig
    from prunus.training.learner import Smaller

VERIFIED_ON = 64  # samples on which compact and masked model are compared


def seen_by(task: Task | None, model: nn.Module) -> Inputs | None:
    """Some training inputs, where the model lies."""
    if task is None:
        return None
    inputs = placed(next(iter(task.calibration(VERIFIED_ON))), model)
    return inputs[:VERIFIED_ON] if isinstance(inputs, Tensor) else inputs


def held_out(task: Task) -> Task:
    """The task; raises TargetError if it has no samples to choose by."""
    if task.validation is None:
        raise TargetError(
            "A tolerance is kept on held-out samples, so the task needs some: give it `validation`."
        )
    return task


def steps_of(task: Task, config: TrainConfig) -> int:
    """Steps of a whole training."""
    return config.epochs * steps_per_epoch(
        task.count("train"), config.batch_size if task.kind("train") == "samples" else 1
    )


class Passes:
    """(inputs, targets) of a part, pass after pass, where a model lies: samples in a new order each time,
    batches as they come.
    """

    def __init__(
        self, task: Task, part: Part, model: nn.Module, config: TrainConfig, augmented: bool = False
    ) -> None:
        self._task, self._part, self._model, self._config, self._augmented = (
            task,
            part,
            model,
            config,
            augmented,
        )
        self._generator = torch.Generator().manual_seed(config.seed)

    def __iter__(self) -> Iterator[Batch]:
        found: Any = getattr(self._task, self._part)
        if not isinstance(found, Split):
            return self._task.batches(self._part, model=self._model)
        device, dtype = placement(self._model)
        return batches(
            found.to(device),
            self._task.normalisation,
            self._config.batch_size,
            generator=self._generator,
            dtype=dtype,
            augment=self._config.augment if self._augmented else "none",
        )


class OfCore(Pruning):
    """A callback that looks at the core of a model, of which the loop trains the whole: the two share all
    tensors.
    """

    def __init__(self, pruning: Pruning, core: nn.Module) -> None:
        self._pruning, self._core = pruning, core
        self._smaller: tuple[Smaller, Smaller] | None = None  # of the core, and of the whole

    @property
    def __wrapped__(self) -> Pruning:
        """Whose settings these are."""
        return self._pruning

    def before_training(self, model: nn.Module, epochs: int) -> None:
        """Of the core."""
        self._pruning.before_training(self._core, epochs)

    def after_step(self, model: nn.Module) -> None:
        """Of the core, or of the smaller one."""
        inside = self._smaller is not None and model is self._smaller[1].model
        self._pruning.after_step(self._smaller[0].model if inside and self._smaller else self._core)

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Of the core."""
        self._pruning.after_epoch(self._core, epoch, epochs)

    def surviving(self, model: nn.Module) -> dict[str, Tensor]:
        """Of the core, whose names are those of the whole."""
        return self._pruning.surviving(self._core)

    def smaller(self, model: nn.Module) -> Smaller | None:
        """The whole of the smaller core."""
        found = self._pruning.smaller(self._core) if isinstance(self._pruning, Removal) else None
        if found is None:
            return None
        if self._smaller is None or self._smaller[0] is not found:
            self._smaller = found, replace(found, model=whole(found.model))
        return self._smaller[1]

    def state(self) -> dict[str, Any]:
        """The callback's."""
        return self._pruning.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """The callback's."""
        self._pruning.restore(state)


def callback(pruning: Pruning, model: nn.Module) -> Pruning:
    """What the loop is given, where the model may be a core."""
    return OfCore(pruning, model) if is_core(model) else pruning
