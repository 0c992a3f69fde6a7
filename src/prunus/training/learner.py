"""The network that learns: at first the given one, and from where channels are gone for good a smaller one in
its place.

Weights, the state of the optimiser and averaged weights go from one to the other as plain copies, number by
number. Between epochs, and in every checkpoint, everything has the shapes of the given network, so that
nobody outside has to know of the smaller one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prunus._foundation.warned import warn
from prunus.errors import CompactError, clause
from prunus.paint.model_copy import named_tensors
from prunus.plans.slices import Slices, cut
from prunus.surgery.optimizer import transfer
from prunus.training.counts import Counted, Counts
from prunus.training.ema import Average


@dataclass(frozen=True, eq=False)
class Smaller:
    """A network that lacks some channels of another one, and computes what that computes while these are
    zero.

    Attributes:
        model: the network.
        slices: the kept slots of every tensor of the other one that loses some.
        remade: tensors that name channels, which are other ones in the smaller network: they do not learn.
    """

    model: nn.Module
    slices: Slices
    remade: frozenset[str] = field(default_factory=frozenset)

    def unlike(self, given: nn.Module) -> str:
        """The first tensor that is not what the slices leave of the given network's, number by number; ""
        where all are.
        """
        wide = named_tensors(given)
        for name, tensor in named_tensors(self.model).items():
            if name in self.remade:
                continue
            if name not in wide or not torch.equal(tensor, cut(wide[name], self.slices.get(name, {}))):
                return name
        return ""


class Learner:
    """The network that learns, with its optimiser and its average.

    Args:
        given: the network that the training was begun with.
        optimizer: of its parameters.
        average: of its weights, if there is one.
        memory: the memory format of weights.

    Attributes:
        given: the same all the time.
        model: what learns.
    """

    def __init__(
        self, given: nn.Module, optimizer: Optimizer, average: Average | None, memory: torch.memory_format
    ) -> None:
        self.given, self.model = given, given
        self._optimizer, self._average, self._memory = optimizer, average, memory
        self._smaller: Smaller | None = None
        self._refused: Smaller | None = None
        self._counts, self._since = Counts(dict(given.named_modules())), Counts({})
        self._averaged: dict[str, Tensor] = {}  # of the given network, while a smaller one learns

    def tensors(self) -> dict[str, Tensor]:
        """The given network's parameters and buffers, with what was learned so far."""
        wide = named_tensors(self.given)
        if self._smaller is not None:
            narrow = named_tensors(self.model)
            self._put_back(wide, {name: t for name, t in narrow.items() if name not in self._smaller.remade})
        return wide

    def counts(self) -> Counted:
        """What the modules of the given network have counted so far, those of a smaller one included."""
        self._counts.restore(self._since.state(), known=False)
        return self._counts.state()

    def restore(self, tensors: Mapping[str, Tensor], counted: Mapping[str, Any]) -> None:
        """Let the given network go on from what a file holds. Raises ValueError where its modules count
        something else.
        """
        with torch.no_grad():
            for name, tensor in named_tensors(self.given).items():
                tensor.copy_(tensors[name])
        self._counts.restore(counted)

    def give_back(self) -> None:
        """Let the given network, and its average, have what the smaller one has learned."""
        if self._smaller is None:
            return
        self.tensors()
        self.counts()
        if self._average is not None:
            self._put_back(self._averaged, self._average.values)
            self._average.follow(self.given, self._averaged)

    def go_on(self, smaller: Smaller | None) -> bool:
        """Go on with what was changed in the given network meanwhile, by the given network or a smaller one;
        whether it is another one than before.
        """
        if smaller is self._refused:
            smaller = None
        if smaller is not self._smaller:
            self._return_optimizer()
            self._smaller = smaller if smaller is not None and self._moved(smaller) else None
            self._since = Counts(dict(self._smaller.model.named_modules()) if self._smaller else {})
            self.model = self.given if self._smaller is None else self._smaller.model
            self._follow()
            return True
        if self._smaller is not None:
            wide = named_tensors(self.given)
            with torch.no_grad():
                for name, tensor in named_tensors(self.model).items():
                    if name not in self._smaller.remade:
                        tensor.copy_(self._cut(name, wide[name]))
            self._follow()
        return False

    def end(self) -> None:
        """Leave everything with the given network."""
        if self._smaller is not None:
            self.give_back()
            self.go_on(None)

    def cut(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is left of booleans of the given parameters' shapes: those that are not all true."""
        if self._smaller is None:
            return dict(masks)
        narrow = {name: self._cut(name, mask) for name, mask in masks.items()}
        return {name: mask for name, mask in narrow.items() if not bool(mask.all())}

    def optimizer_state(self) -> dict[str, Any]:
        """The state of the optimiser as that of one of the given network."""
        packed = self._optimizer.state_dict()
        if self._smaller is None:
            return packed
        names = {id(tensor): name for name, tensor in named_tensors(self.model).items()}
        order = [names[id(one)] for group in self._optimizer.param_groups for one in group["params"]]
        wide = named_tensors(self.given)
        state = {
            index: {key: self._widened(order[index], value, wide) for key, value in values.items()}
            for index, values in packed["state"].items()
        }
        return {**packed, "state": state}

    def average_state(self) -> dict[str, object] | None:
        """The state of the average as that of the given network's."""
        if self._average is None or self._smaller is None:
            return None if self._average is None else self._average.state()
        self._put_back(self._averaged, self._average.values)
        return {**self._average.state(), "values": dict(self._averaged)}

    def _moved(self, smaller: Smaller) -> bool:
        """Take the optimiser to a smaller network; False where it cannot follow."""
        if self._memory == torch.channels_last:
            smaller.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            transfer(self._optimizer, self.given, smaller.model, smaller.slices)
        except CompactError as error:
            self._refused = smaller
            warn(
                "The channels that are gone for good are masked, not removed, until the training ends"
                f" ({clause(error)})."
            )
            return False
        self.settle_state()
        return True

    def _return_optimizer(self) -> None:
        """Point the optimiser at the given network again, which has the other numbers already."""
        if self._smaller is None:
            return
        wide = named_tensors(self.given)
        names = {id(tensor): name for name, tensor in named_tensors(self.model).items()}
        state = {
            wide[names[id(one)]]: {
                key: self._widened(names[id(one)], value, wide) for key, value in values.items()
            }
            for one, values in self._optimizer.state.items()
        }
        for group in self._optimizer.param_groups:
            group["params"] = [wide[names[id(one)]] for one in group["params"]]
        self._optimizer.state.clear()
        self._optimizer.state.update(state)
        self.settle_state()

    def settle_state(self) -> None:
        """State lies in memory as its parameter does, whichever way it came."""
        for parameter, values in self._optimizer.state.items():
            for key, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()

    def _follow(self) -> None:
        """Let the average follow what learns."""
        if self._average is None:
            return
        if self._smaller is None:
            self._averaged = {}
            self._average.follow(self.given, self._average.values)
            return
        self._averaged = self._averaged or self._average.values
        self._average.follow(
            self.model, {name: self._cut(name, value).clone() for name, value in self._averaged.items()}
        )

    def _cut(self, name: str, tensor: Tensor) -> Tensor:
        """What the smaller network has of a tensor of the given one's shape."""
        assert self._smaller is not None
        axes = self._smaller.slices.get(name)
        return tensor.detach() if axes is None else cut(tensor.detach(), axes)

    def _widened(self, name: str, value: Any, wide: Mapping[str, Tensor]) -> Any:
        """State of a parameter in the shape of the given one's; zero where its channels are gone."""
        assert self._smaller is not None
        if not isinstance(value, Tensor) or value.shape != named_tensors(self.model)[name].shape:
            return value
        result = value.new_zeros(wide[name].shape)
        place(result, value, self._smaller.slices.get(name, {}))
        return result

    def _put_back(self, wide: Mapping[str, Tensor], narrow: Mapping[str, Tensor]) -> None:
        assert self._smaller is not None
        for name, tensor in narrow.items():
            place(wide[name], tensor, self._smaller.slices.get(name, {}))


@torch.no_grad()
def place(wide: Tensor, narrow: Tensor, axes: Mapping[int, Any]) -> None:
    """Write a tensor into the kept slots of a wider one, in place: the way back of `cut`."""
    if not axes:
        wide.copy_(narrow)
        return
    kept = [axes.get(dim, np.arange(length)) for dim, length in enumerate(wide.shape)]
    wide[tuple(torch.from_numpy(one).to(wide.device) for one in np.ix_(*kept))] = narrow.to(wide.dtype)
