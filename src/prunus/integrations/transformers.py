"""Pruning while Hugging Face's Trainer trains: `prunus.training.Pruning` as a `TrainerCallback`.

```
pruning = SoftPruning({"pixel_values": torch.zeros(1, 3, 32, 32)}, rate=0.3)
callback = PruningCallback(pruning)
Trainer(model, arguments, train_dataset=pictures, callbacks=[callback]).train()
callback.small
```
"""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from prunus._foundation.arguments import checked
from prunus._foundation.scratch import scratch_folder
from prunus.errors import ConfigError
from prunus.integrations._bases import base
from prunus.integrations._course import Course, Network
from prunus.storage import read_tree, write_tree
from prunus.surgery.optimizer import Optimizers
from prunus.training import Pruning

if TYPE_CHECKING:
    TrainerCallback = object
else:
    TrainerCallback = base(("transformers",), "TrainerCallback", "transformers")

_KEY = "prunus"  # in trainer_state.json, among what callbacks keep there
_STATE_FILE = "trainer_state.json"


class PruningCallback(TrainerCallback):
    """Prunes the model of a `Trainer` as it trains, and makes the compact one when it is done.

    The pruning is told about every step of the optimiser (so not about batches whose gradients are only
    accumulated), and about the end of every epoch before that is evaluated and saved. Its state is part of
    every checkpoint's `trainer_state.json`, and is found there by `train(resume_from_checkpoint=…)`; with
    `load_best_model_at_end` the channels that go are those of the best checkpoint. Modes and `requires_grad`
    of the modules stay as they are.

    Args:
        pruning: such as `prunus.methods.soft.SoftPruning`.
        network: the name of what is pruned in the model ("": that itself), or a function that gives it.
        epochs: of the whole training; None = what the trainer says.

    Attributes:
        pruning: as given; its `plan` says what went.
        small: the compact network, once `train` is done; None before, and if nothing was pruned.

    Raises:
        MissingExtraError: `transformers` is not installed.
        ConfigError: no such module, a number of epochs that nobody can tell, or parameters that are sharded
            between processes.
    """

    @checked(ConfigError)
    def __init__(self, pruning: Pruning, network: Network = "", *, epochs: int | None = None) -> None:
        super().__init__()
        self._course = Course(pruning, network, epochs)
        self._key = f"{_KEY}:{network if isinstance(network, str) else network.__qualname__}"

    @property
    def pruning(self) -> Pruning:
        """As given."""
        return self._course.pruning

    @property
    def small(self) -> nn.Module | None:
        """The compact network."""
        return self._course.small

    def compact(self, model: nn.Module, optimizer: Optimizers | None = None) -> nn.Module:
        """The network without what was pruned last.

        Args:
            model: the trainer's, which stays as it is.
            optimizer: over parameters of the network (of the trainer's, `trainer.optimizer.optimizer`), one
                or several; moved to the compact one, momentum and all.

        Raises TargetError if nothing was pruned.
        """
        return self._course.compact(model, optimizer)

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Begin, or go on from a checkpoint."""
        kept = state.stateful_callbacks.get(self._key)
        if state.global_step and kept is not None:
            self._course.restore(_tree(kept["attributes"]["state"]))
        self._course.begin(model, state.num_train_epochs, state.global_step == 0)
        self._keep(state)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """After a step; after the last one of an epoch, which ends here, before it is evaluated and saved."""
        self._course.step(model)
        if float(state.epoch).is_integer():
            self.on_epoch_end(args, state, control, model)
        elif control.should_save or control.should_evaluate:
            self._keep(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """After an epoch that was cut short, too."""
        self._course.end_epoch(model, math.ceil(state.epoch) - 1)
        self._keep(state)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """The compact network; of the best checkpoint, where its weights were loaded."""
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            best = type(state).load_from_json(str(Path(state.best_model_checkpoint) / _STATE_FILE))
            self._course.restore(_tree(best.stateful_callbacks[self._key]["attributes"]["state"]))
        self._course.finish(model)

    def _keep(self, state: Any) -> None:
        """Leave the state where the trainer writes it with its own."""
        state.stateful_callbacks[self._key] = {
            "args": {},
            "attributes": {"state": _text(self._course.state())},
        }


def _text(tree: Any) -> str:
    """A tree of tensors, numbers and texts as text, for JSON."""
    with scratch_folder() as folder:
        path = Path(folder) / "state.safetensors"
        write_tree(path, tree)
        return base64.b64encode(path.read_bytes()).decode("ascii")


def _tree(text: str) -> Any:
    """What `_text` wrote. Raises FileFormatError if that is not whole."""
    with scratch_folder() as folder:
        path = Path(folder) / "state.safetensors"
        path.write_bytes(base64.b64decode(text))
        return read_tree(path)
