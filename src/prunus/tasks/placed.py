"""Inputs of a task where a model lies, in the type of its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

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
    return tree_map_only(
        Tensor,
        lambda tensor: tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device),
        inputs,
    )


def moved(targets: Any, model: nn.Module) -> Any:
    """Targets of any form where a model lies, as they are."""
    device, _ = placement(model)
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), targets)
