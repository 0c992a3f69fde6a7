"""Pruning while Lightning trains: `prunus.training.Pruning` as a callback of its `Trainer`.

```
pruning = SoftPruning(torch.zeros(1, 3, 32, 32), rate=0.3)
callback = PruningCallback(pruning, network="net")
Trainer(max_epochs=30, callbacks=[callback]).fit(module, loader)
module.net = callback.small
```
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from prunus._foundation.arguments import checked
from prunus.errors import ConfigError
from prunus.integrations._bases import base
from prunus.integrations._course import Course, Network
from prunus.surgery.optimizer import Optimizers
from prunus.training import Pruning

if TYPE_CHECKING:
    Callback = object
else:
    Callback = base(("lightning.pytorch", "pytorch_lightning"), "Callback", "lightning")


class PruningCallback(Callback):
    """Prunes the network of a LightningModule as it trains, and makes the compact network when it is done.

    The pruning is told about every step of the optimiser (so not about batches whose gradients are only
    accumulated), and about the end of every epoch before that is validated and kept. Its state is part of
    Lightning's checkpoints. Modes and `requires_grad` of the modules stay as they are. Callbacks that average
    weights belong behind this one.

    Args:
        pruning: such as `prunus.methods.soft.SoftPruning`.
        network: the name of what is pruned in the LightningModule ("": that itself), or a function that gives
            it, such as `lambda module: prunus.core(module.detector)`.
        epochs: of the whole training; None = what the trainer says.

    Attributes:
        pruning: as given; its `plan` says what went.
        small: the compact network, once `fit` is done; None before, and if nothing was pruned.

    Raises:
        MissingExtraError: neither `lightning` nor `pytorch_lightning` is installed.
        ConfigError: no such module, a number of epochs that nobody can tell, or parameters that are sharded
            between processes.
    """

    @checked(ConfigError)
    def __init__(self, pruning: Pruning, network: Network = "", *, epochs: int | None = None) -> None:
        super().__init__()
        self._course, self._name = Course(pruning, network, epochs), network
        self._steps = 0

    @property
    def pruning(self) -> Pruning:
        """As given."""
        return self._course.pruning

    @property
    def small(self) -> nn.Module | None:
        """The compact network."""
        return self._course.small

    def compact(self, module: Any, optimizer: Optimizers | None = None) -> nn.Module:
        """The network without what was pruned last; after `trainer.validate(module, ckpt_path="best")`, as it
        is in that checkpoint.

        Args:
            module: the LightningModule, which stays as it is.
            optimizer: over parameters of the network, one or several; moved to the compact one,
                momentum and all.

        Raises TargetError if nothing was pruned.
        """
        with _alone(module):
            return self._course.compact(module, optimizer)

    @property
    def state_key(self) -> str:
        """Under which checkpoints hold the state: several callbacks may prune several networks."""
        name = self._name if isinstance(self._name, str) else self._name.__qualname__
        return f"{type(self).__qualname__}({name!r})"

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoint."""
        return self._course.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From Lightning's checkpoint."""
        self._course.restore(state_dict)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, or go on."""
        self._steps = trainer.global_step
        with _alone(pl_module):
            self._course.begin(pl_module, _epochs(trainer), trainer.global_step == 0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        """After a step; after the last one of an epoch, which ends here, before it is validated."""
        if trainer.global_step != self._steps:
            self._steps = trainer.global_step
            with _alone(pl_module):
                self._course.step(pl_module)
        if trainer.is_last_batch:
            self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """After an epoch that was cut short, too."""
        with _alone(pl_module):
            self._course.end_epoch(pl_module, trainer.current_epoch)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """The compact network, when all others are done with the weights."""
        with _alone(pl_module):
            self._course.finish(pl_module)


def _epochs(trainer: Any) -> float:
    """How many epochs a trainer trains for; infinity where that is not known."""
    epochs = float(trainer.max_epochs) if trainer.max_epochs and trainer.max_epochs > 0 else math.inf
    steps = trainer.num_training_batches / trainer.accumulate_grad_batches  # infinite, of endless data
    if trainer.max_steps > 0 and 0 < steps < math.inf:
        epochs = min(epochs, math.ceil(trainer.max_steps / math.ceil(steps)))
    return epochs


@contextmanager
def _alone(module: Any) -> Iterator[None]:
    """A LightningModule without its trainer, which cannot be copied with it."""
    trainer = module._trainer
    module.trainer = None
    try:
        yield
    finally:
        module.trainer = trainer
