"""Inputs of a task where a model lies, in the type of its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from prunus.paint.nests import map_tensors
from prunus.training.calls import samples_in
from prunus.training.evaluation import placement

if TYPE_CHECKING:
    from prunus.tasks.inputs import Inputs
    from prunus.tasks.metrics import Batch
    from prunus.tasks.task import Task
    from prunus.training import Calibration


def example_of(task: Task, model: nn.Module) -> Any:
    """One input, where the model lies."""
    return placed(task.example_inputs(), model)


class Placed:
    """Calibration inputs of a task, again and again, where a model lies."""

    def __init__(self, inputs: Calibration | Inputs, model: nn.Module) -> None:
        self._inputs, self._model = inputs, model

    def pairs(self) -> Iterator[Batch]:
        """With their targets."""
        return (
            (placed(inputs, self._model), moved(targets, self._model))
            for inputs, targets in self._inputs.pairs()
        )

    def __iter__(self) -> Iterator[Any]:
        return (inputs for inputs, _ in self.pairs())


def placed(inputs: Any, model: nn.Module) -> Any:
    """Inputs of any form where a model lies, in its type."""
    device, dtype = placement(model)
    return map_tensors(
        inputs, lambda tensor: tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
    )


def moved(targets: Any, model: nn.Module) -> Any:
    """Targets of any form where a model lies, as they are."""
    device, _ = placement(model)
    return map_tensors(targets, lambda tensor: tensor.to(device))


def one_of(inputs: Any) -> Any:
    """The first sample of the inputs of a batch; what all samples share, such as a number or a table, stays
    whole.
    """
    count = samples_in(inputs)
    return map_tensors(inputs, lambda tensor: tensor[:1] if tensor.dim() and len(tensor) == count else tensor)
