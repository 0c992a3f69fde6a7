"""What belongs to the user and still decides how a training goes on: a loss with a state, and generators that
hang on a loader. A checkpoint holds these too.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from prunus._foundation.seeds import generators_of, go_to, makers_of, start_workers, state_of
from prunus.training.counts import Counts
from prunus.training.objective import Loss


class Outside:
    """The loss and the batches of a training, as far as they have states that a file can hold.

    Args:
        loss: of one's own, where there is one; a `torch.nn.Module` has a state.
        data: samples or batches; a `DataLoader` may have generators of its own.
    """

    def __init__(self, loss: Loss | None, data: Any) -> None:
        own: Any = None if loss is None else inspect.unwrap(loss)
        self._loss = own if isinstance(own, nn.Module) else None
        self._data = data
        losses = dict(self._loss.named_modules(prefix="loss")) if self._loss is not None else {"loss": own}
        makers = {f"data {place}": one for place, one in enumerate(makers_of(data))}
        self._counts = Counts({**losses, **makers})

    def state(self) -> dict[str, Any]:
        """Copies of the tensors of the loss by name, the states of the generators, and what has been
        counted.
        """
        loss = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}
        generators = {name: state_of(one) for name, one in generators_of(self._data).items()}
        return {"loss": loss, "generators": generators, "counted": self._counts.state()}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Back to a state; files of earlier versions have none. The pass that comes is not the first one."""
        start_workers(self._data)
        if state is None:
            return
        mine, theirs = self._tensors(), state["loss"]
        if {name: t.shape for name, t in mine.items()} != {name: t.shape for name, t in theirs.items()}:
            raise ValueError("it holds the state of another loss")
        with torch.no_grad():
            for name, tensor in mine.items():
                tensor.copy_(theirs[name])
        for name, generator in generators_of(self._data).items():
            if name not in state["generators"]:
                raise ValueError(f"the data had no generator {name.partition('.')[2]!r} then")
            go_to(generator, state["generators"][name])
        self._counts.restore(state.get("counted", {}))

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Those of the loss that may change, by name: the frozen weights of another network, as of a
        perceptual loss, do not.
        """
        if self._loss is None:
            return {}
        return {
            name: tensor
            for name, tensor in self._loss.state_dict(keep_vars=True).items()
            if isinstance(tensor, torch.Tensor)
            and (tensor.requires_grad or not isinstance(tensor, nn.Parameter))
        }
