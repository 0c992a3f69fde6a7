"""A pruning in the course of a training that somebody else's loop runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from prunus import compact
from prunus.errors import ConfigError, TargetError
from prunus.plans import Plan
from prunus.surgery.optimizer import Optimizers
from prunus.training import Pruning

Network = str | Callable[[Any], nn.Module]


class Course:
    """Tells a pruning what its own loop would tell it: the beginning of a training, every step, and the end
    of every epoch, once.

    Args:
        pruning: what looks at the weights.
        network: the name of the module that it looks at inside the one that is trained ("": that itself), or
            a function that gives it, such as `lambda module: prunus.core(module.detector)`.
        epochs: of the whole training; None = as many as the loop says.

    Attributes:
        small: what `finish` left; None before.
    """

    def __init__(self, pruning: Pruning, network: Network, epochs: int | None) -> None:
        if epochs is not None and epochs < 1:
            raise ConfigError(f"epochs must be at least 1, not {epochs}.")
        self.pruning = pruning
        self.small: nn.Module | None = None
        self._where, self._asked = network, epochs
        self._epochs, self._ended, self._begun = 0, -1, False
        self._found: tuple[nn.Module, nn.Module] | None = None

    def begin(self, trained: nn.Module, epochs: float, anew: bool) -> None:
        """Before the first step; the pruning is told unless the training goes on, in this process or from a
        checkpoint.

        Raises ConfigError if nobody says how many epochs there are, and for sharded parameters.
        """
        self._epochs = self._count(epochs)
        network = self.network(trained)
        _check_whole(network)
        if anew or not self._begun:
            self._ended, self.small, self._begun = -1, None, True
            self.pruning.before_training(network, self._epochs)

    def step(self, trained: nn.Module) -> None:
        """After a step of the optimiser."""
        self.pruning.after_step(self.network(trained))

    def end_epoch(self, trained: nn.Module, epoch: int) -> None:
        """After an epoch, counted from 0; what was told already is not told again."""
        if epoch <= self._ended:
            return
        self._ended = epoch
        self.pruning.after_epoch(self.network(trained), epoch, max(self._epochs, epoch + 1))

    def finish(self, trained: nn.Module) -> None:
        """After the training: the compact network, where the pruning says what goes."""
        if self.plan is not None:
            self.small = self.compact(trained)

    def compact(self, trained: nn.Module, optimizer: Optimizers | None = None) -> nn.Module:
        """The network without what was pruned last. Raises TargetError if nothing was."""
        if self.plan is None:
            raise TargetError("Nothing was pruned in this training, so there is nothing to remove.")
        return compact(self.network(trained), self.plan, optimizer=optimizer)

    @property
    def plan(self) -> Plan | None:
        """What the pruning has taken last; None before, and of callbacks that take nothing."""
        return getattr(self.pruning, "plan", None)

    def network(self, trained: nn.Module) -> nn.Module:
        """What is pruned of what is trained: always the same module, so that it is traced once."""
        if self._found is None or self._found[0] is not trained:
            self._found = (trained, _part(trained, self._where))
        return self._found[1]

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"ended": self._ended, "pruning": self.pruning.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._ended, self._begun = int(state["ended"]), True
        self.pruning.restore(state["pruning"])

    def _count(self, epochs: float) -> int:
        if self._asked is not None:
            return self._asked
        if not 1 <= epochs < _ENDLESS:
            raise ConfigError(
                "This training does not say how many epochs it has, and the schedule of a pruning needs to"
                " know: give epochs=."
            )
        return math.ceil(epochs)


_ENDLESS = 2**31  # epochs: loops say infinity, or the largest number that they have


def _part(trained: nn.Module, where: Network) -> nn.Module:
    """Raises ConfigError for a name that no module has."""
    if not isinstance(where, str):
        return where(trained)
    names = [name for name, _ in trained.named_modules()]
    if where not in names:
        children = ", ".join(name for name, _ in trained.named_children()) or "none"
        raise ConfigError(
            f"{type(trained).__name__} has no module {where!r}, of which network= should be the name; its own"
            f" are {children}."
        )
    return trained.get_submodule(where)


def _check_whole(network: nn.Module) -> None:
    """Raises ConfigError where a process holds only a part of the weights: channels are chosen by all of
    them.
    """
    for name, parameter in network.named_parameters():
        if hasattr(parameter, "ds_id") or hasattr(parameter, "_is_flat_param") or _is_sharded(parameter):
            raise ConfigError(
                f"The parameter {name} is sharded between processes, and channels are chosen by whole"
                " weights: train with DDP, or on one device."
            )


def _is_sharded(parameter: nn.Parameter) -> bool:
    return type(parameter.data).__name__ == "DTensor"
