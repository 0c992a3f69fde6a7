"""Numbers in front of channels while a model is trained: what importance weights, masks and gates have in
common.

A channel's number multiplies every filter, bias, and scale and shift of a norm that makes the channel (but
not what is in front of a batch norm, which would undo it), so that 0 is exactly the masked network, on
coupled channels too. Of what is divided by, the distance from one is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from prunus._foundation.parametrised import put_on
from prunus.errors import PlanError
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.model_copy import named_tensors, walk
from prunus.plans.consumers import norms_behind

# What a channel with the number 0 gets as its bias or shift while it is trained: nothing, for any sum, but
# behind it a rectifier lets the gradient through, so that the number can grow again.
_TRACE = 1e-20

Product = Callable[[Tensor, Tensor], Tensor]


class Maker(NamedTuple):
    """A parameter that makes channels: its module, its name there, and the axis that holds them."""

    module: nn.Module
    name: str
    axis: Axis

    @property
    def tensor(self) -> Tensor:
        """The parameter itself, without its factors."""
        if parametrize.is_parametrized(self.module, self.name):
            return cast(Tensor, self.module.parametrizations[self.name].original)  # type: ignore[union-attr, index]
        return cast(Tensor, getattr(self.module, self.name))


class ChannelFactors:
    """Multiplies every channel of a model, in place, by its own number, until `fold` multiplies the numbers
    in for good.

    Args:
        model: the traced model.
        graph: its channels.
        numbers: a module whose forward takes nothing and gives the numbers, shape (num_channels,). Its
            parameters are parameters of the model meanwhile, so whoever trains the model trains them.
        product: (parameter, numbers of its slots, which broadcast over it) -> their product, for methods with
            a gradient of their own.

    Attributes:
        makers: what is multiplied.

    Raises:
        PlanError: a parameter is shared by several modules, or a batch norm without scale and shift is behind
            channels.
    """

    def __init__(
        self, model: nn.Module, graph: ChannelGraph, numbers: nn.Module, product: Product = torch.mul
    ) -> None:
        self.makers = makers(model, graph)
        device = next(iter(named_tensors(model).values())).device
        once = _Once(numbers.to(device))
        self._hooks = [
            model.register_forward_pre_hook(once.begin),
            model.register_forward_hook(once.end, always_call=True),
        ]
        self._multiplied = [_Multiplied(once, maker.axis, product).to(device) for maker in self.makers]
        for (module, name, _), multiplied in zip(self.makers, self._multiplied):
            put_on(module, name, multiplied)

    def fold(self) -> None:
        """Multiply the numbers into what they stand in front of, and take them off: the model has its own
        parameters again.
        """
        for hook in self._hooks:
            hook.remove()
        for multiplied in self._multiplied:
            multiplied.trace = 0.0
        for module, name, _ in self.makers:
            if parametrize.is_parametrized(
                module, name
            ):  # a parameter with channels along two axes comes twice
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)


class _Once(nn.Module):
    """Works the numbers out once for all that they multiply while the model runs, and anew whenever they are
    asked for otherwise.
    """

    def __init__(self, numbers: nn.Module) -> None:
        super().__init__()
        self.numbers = numbers
        self.found: Tensor | None = None

    def forward(self) -> Tensor:
        return self.numbers() if self.found is None else self.found

    def begin(self, model: nn.Module, inputs: Any) -> None:
        """The model begins to run."""
        self.found = self.numbers()

    def end(self, model: nn.Module, inputs: Any, outputs: Any) -> None:
        """The model has run."""
        self.found = None


class _Multiplied(nn.Module):
    """Multiplies the slots of one axis with their channels' numbers."""

    def __init__(self, numbers: nn.Module, axis: Axis, product: Product) -> None:
        super().__init__()
        self.numbers, self.product, self.dim, self.neutral = numbers, product, axis.dim, axis.neutral
        self.trace = _TRACE if axis.name.rpartition(".")[2] == "bias" else 0.0
        self.channels: Tensor
        self.register_buffer("channels", torch.from_numpy(axis.channels.copy()), persistent=False)

    def forward(self, tensor: Tensor) -> Tensor:
        numbers = on_slots(self.numbers(), self.channels, tensor, self.dim)
        made = (
            self.product(tensor - self.neutral, numbers) + self.neutral
            if self.neutral
            else self.product(tensor, numbers)
        )
        return made + self.trace * (numbers == 0) if self.trace else made


def on_slots(numbers: Tensor, channels: Tensor, like: Tensor, dim: int) -> Tensor:
    """The numbers of an axis' slots, 1 where they are pinned, of a shape that broadcasts over `like`."""
    each = torch.cat([numbers, numbers.new_ones(1)])[channels]  # pinned slots are channel -1
    return each.to(like.dtype).view(-1, *(1 for _ in like.shape[dim + 1 :]))


def makers(model: nn.Module, graph: ChannelGraph) -> list[Maker]:
    """Every parameter that makes channels, but for those in front of a batch norm; the errors are those of
    `ChannelFactors`.
    """
    modules = walk(model)
    undone = {
        name for name, norm in norms_behind(graph).items() if norm and getattr(modules[norm], "affine", False)
    }
    for axis in graph.axes:
        owner, _, name = axis.name.rpartition(".")
        if (
            name == "running_mean"
            and owner in modules
            and not getattr(modules[owner], "affine", True)
            and (axis.channels >= 0).any()
        ):
            raise PlanError(
                f"{owner} is a batch norm without scale and shift, which would undo the weights of its"
                " channels."
            )
    owners: dict[int, int] = {}
    for module in modules.values():
        for parameter in module._parameters.values():
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    found = []
    for axis in graph.axes:
        owner, _, name = axis.name.rpartition(".")
        if not (axis.zeroed and axis.is_parameter and (axis.channels >= 0).any()):
            continue
        if (
            axis.produces and owner in undone
        ):  # a slice that reads a channel is not undone, whatever is behind it
            continue
        if owner not in modules or modules[owner]._parameters.get(name) is None:
            raise PlanError(
                f"The model has no parameter {axis.name} as it had when it was traced: give the traced model,"
                " with no weights of channels on it that were not folded."
            )
        if owners[id(modules[owner]._parameters[name])] > 1:
            raise PlanError(
                f"{axis.name} is shared by several modules, so its channels can have no weights of their own."
            )
        found.append(Maker(modules[owner], name, axis))
    return found


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """`hard` with the gradient of `soft` (Bengio, Leonard and Courville 2013, arXiv 1308.3432)."""
    return hard + (soft - soft.detach())
