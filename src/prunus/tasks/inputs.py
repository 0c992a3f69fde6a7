"""What a task calls its model with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn

from prunus._foundation.seeds import seeded
from prunus.tasks.batches import first_batches, last_batches, pair_of
from prunus.tasks.calling import beside, in_one
from prunus.tasks.metrics import Batch

if TYPE_CHECKING:
    from prunus.tasks.task import Task


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a model is called with, from the first training batches: kept, so that they are the same every
    time even where batches are drawn.

    Attributes:
        task: whose training batches.
        samples: how many, at least, where there are as many.
        after: so many samples come first and are left out; where too few follow, the last ones are taken.
    """

    task: Task
    samples: int
    after: int = 0

    def pairs(self) -> Iterator[Batch]:
        """With their targets."""
        return iter(self._kept)

    def __iter__(self) -> Iterator[Any]:
        return (inputs for inputs, _ in self._kept)

    def _of_core(self, inputs: Any) -> Any:
        """What is traced and observed is called with: of detectors, their images as a batch."""
        if self.task.core_inputs is not None:
            return self.task.core_inputs(inputs)
        return in_one(inputs) if self.task.loss == "model" and isinstance(inputs, list) else inputs

    @cached_property
    def _kept(self) -> list[Batch]:
        with seeded():
            found = list(first_batches(self.task.batches("train"), self.after + self.samples))
        if self.after:
            found = last_batches(found, self.samples)
        return [(self._of_core(inputs), targets) for inputs, targets in found]


@dataclass(frozen=True, eq=False)
class WithTargets:
    """Batches whose targets are among what the model is called with."""

    batches: Any
    model: nn.Module | None = None

    @property
    def __wrapped__(self) -> Any:
        """Whose generators and workers these are."""
        return self.batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self.batches):
            inputs, targets = pair_of(batch, number, "train", apart=True)
            yield beside(inputs, targets, self.model), targets
