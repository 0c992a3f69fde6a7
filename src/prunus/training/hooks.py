"""What a training asks of others: which samples an epoch trains on, and what happens to the weights after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from ..selection.curricula import Curriculum


class Pruning(Protocol):
    """Changes weights between epochs, or keeps them as it changed them. Epochs are counted from 0."""

    def before_training(self, model: nn.Module, epochs: int) -> None:
        """Once, before the first epoch; not after a resume."""

    def after_step(self, model: nn.Module) -> None:
        """After every step of the optimiser."""

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """After every epoch, before it is validated."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""


__all__ = ["Curriculum", "Pruning"]
