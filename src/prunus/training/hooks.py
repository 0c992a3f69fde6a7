"""What a training asks of others: which samples an epoch trains on, and what happens to
the weights after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

from prunus.selection.curricula import Curriculum

if TYPE_CHECKING:
    from prunus.training.learner import Smaller


class Pruning(Protocol):
    """Looks at the weights in the course of a training, and may change them. Epochs are counted from 0.

    Whoever inherits from it writes the methods that it has something to do in; the others do nothing.
    """

    def before_training(self, model: nn.Module, epochs: int) -> None:
        """Once, before the first epoch; not after a resume."""
        return

    def after_step(self, model: nn.Module) -> None:
        """After every step of the optimiser."""
        return

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """After every epoch, before it is validated."""
        return

    def surviving(self, model: nn.Module) -> dict[str, Tensor]:
        """Of the parameters that lost numbers for good, by name: which of their numbers are left, booleans of
        the parameter's shape.

        The gradients of the others are of no use, and are not exchanged where several processes train
        together.
        """
        return {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        return


@runtime_checkable
class Removal(Protocol):
    """What a `Pruning` may have besides: it makes a smaller network to train on with."""

    def smaller(self, model: nn.Module) -> Smaller | None:
        """A network in which what is gone for good is really gone; None for the model itself.

        Asked after every epoch and after a resume, it is the same object as long as it is to be the same
        network. While there is one, `after_step` gets that, and all else the model itself, which has what the
        smaller one has learned.
        """


class StepCount(Pruning):
    """Counts the steps of a training, for losses that change in its course; a resumed training goes on
    counting.

    Attributes:
        done: steps.
    """

    def __init__(self) -> None:
        self.done = 0

    def before_training(self, model: nn.Module, epochs: int) -> None:
        """Begin."""
        self.done = 0

    def after_step(self, model: nn.Module) -> None:
        """One step more."""
        self.done += 1

    def state(self) -> dict[str, Any]:
        """How far it is."""
        return {"done": self.done}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.done = state["done"]


__all__ = ["Curriculum", "Pruning", "Removal", "StepCount"]
