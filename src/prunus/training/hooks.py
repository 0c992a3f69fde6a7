"""What a training asks of others: which samples an epoch trains on, and what happens to the weights after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from ..selection.rules import Selection


class Curriculum(Protocol):
    """Decides what every epoch trains on. Epochs are counted from 0."""

    def choose(self, model: nn.Module, epoch: int, epochs: int) -> Selection | None:
        """The samples of one epoch; None for all. The model is in evaluation mode, without gradients."""

    def observe(self, samples: Tensor, losses: Tensor, correct: Tensor) -> None:
        """What a batch gave: positions (batch,) int64, unweighted losses (batch,), and which were told right (batch,) bool; all on the CPU."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold: nested dicts and lists of tensors, numbers and texts."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""


class Pruning(Protocol):
    """Changes weights between epochs. Epochs are counted from 0."""

    def before_training(self, model: nn.Module, epochs: int) -> None:
        """Once, before the first epoch; not after a resume."""

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """After every epoch, before it is validated."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
