"""What a training asks of others: which samples an epoch trains on, and what happens to the weights after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from ..selection.curricula import Curriculum


class Pruning(Protocol):
    """Changes weights between epochs, or keeps them as it changed them. Epochs are counted from 0."""

    def before_training(self, model: nn.Module, epochs: int) -> None:
        """Once, before the first epoch; not after a resume."""

    def after_step(self, model: nn.Module) -> None:
        """After every step of the optimiser."""

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """After every epoch, before it is validated."""

    def surviving(self, model: nn.Module) -> dict[str, Tensor]:
        """Of the parameters that lost numbers for good, by name: which of their numbers are left, booleans of the parameter's shape.

        The gradients of the others are of no use, and are not exchanged where several processes train together.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""


__all__ = ["Curriculum", "Pruning"]
