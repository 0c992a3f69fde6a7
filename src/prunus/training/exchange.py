"""The gradients that several processes exchange: of all that learns, and no longer of what was pruned for
good.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from prunus._foundation.arguments import checked
from prunus.training.compiled import Compiled
from prunus.training.distributed import Ranks


class Exchange:
    """A model as it is called in training, so that the gradients of all processes come together.

    Args:
        model: the model that learns.
        ranks: who takes part; alone, nothing is exchanged.
        compiled: run it through `torch.compile`.
        prunes: numbers will be left out, with `leave_out`.

    Attributes:
        forward: what is to be called in the model's place.
    """

    def __init__(self, model: nn.Module, ranks: Ranks, compiled: bool, prunes: bool) -> None:
        self._model, self._ranks = model, ranks
        self._kept: dict[str, Tensor] = {}
        self._masked: list[tuple[nn.Parameter, Tensor]] = []
        self._hook = SurvivingGradients(model, {})
        wrapped = ranks.wrapped(model)
        if prunes and not ranks.alone:
            self._hook.register(wrapped)  # now: torch takes a hook only once, and before the first step
        if compiled:
            wrapped = Compiled(model) if ranks.alone else cast(nn.Module, torch.compile(wrapped))
        self.forward = wrapped

    def leave_out(self, kept: dict[str, Tensor]) -> None:
        """From here on, parameters that lost numbers for good learn with those that are left: booleans of the
        parameter's shape, by name.
        """
        self._kept = kept
        self._hook.restrict(kept)
        named = dict(self._model.named_parameters())
        self._masked = [
            (named[name], mask.to(named[name].dtype))
            for name, mask in kept.items()
            if named[name].requires_grad
        ]

    def clear(self) -> None:
        """Set the gradients of what is gone to zero; several processes have done that when they exchanged
        them.
        """
        if self._ranks.alone and self._masked:
            pairs = [(parameter.grad, mask) for parameter, mask in self._masked if parameter.grad is not None]
            torch._foreach_mul_([gradient for gradient, _ in pairs], [mask for _, mask in pairs])

    @property
    def bytes(self) -> int:
        """What one process gives away in a step; 0 alone."""
        if self._ranks.alone:
            return 0
        learning = ((name, p) for name, p in self._model.named_parameters() if p.requires_grad)
        return sum(
            p.element_size() * (int(self._kept[name].sum()) if name in self._kept else p.numel())
            for name, p in learning
        )


class SurvivingGradients:
    """Exchanges the gradients of channels that are left, and no others: a communication hook for
    DistributedDataParallel.

    Once filters are pruned for good, but still there (masked), their gradients are of no use to anybody. The
    slots of removed channels, in every axis of every parameter, get gradient 0. `prunus.training.train` does
    this by itself; the hook is for training loops of one's own.

    Args:
        kept: for parameters that lose slots, by name: which of their numbers stay, booleans of the
            parameter's shape.

    Attributes:
        sent: bytes of gradients that this process gave away so far.
        full: bytes that it would have given away without this hook.
    """

    @checked()
    def __init__(self, model: nn.Module, kept: dict[str, Tensor]) -> None:
        self._named = dict(model.named_parameters())
        self.restrict(kept)
        self.sent = self.full = 0

    def restrict(self, kept: dict[str, Tensor]) -> None:
        """From now on, these numbers stay."""
        named = self._named
        self._kept = {
            id(named[name]): mask.flatten().nonzero().flatten().to(named[name].device)
            for name, mask in kept.items()
        }

    def register(self, wrapped: nn.Module) -> None:
        """Use it for a model that `Ranks.wrapped` returned."""
        cast(Any, wrapped).register_comm_hook(None, lambda state, bucket: self._exchange(bucket))

    def _exchange(self, bucket: Any) -> torch.futures.Future[Tensor]:
        gradients, parameters = bucket.gradients(), bucket.parameters()
        flat = [g.flatten() for g in gradients]
        pieces = [g if id(p) not in self._kept else g[self._kept[id(p)]] for g, p in zip(flat, parameters)]
        message = torch.cat(pieces) / dist.get_world_size()
        self.sent += message.numel() * message.element_size()
        self.full += sum(g.numel() * g.element_size() for g in flat)
        future = dist.all_reduce(message, async_op=True).get_future()

        def spread(done: torch.futures.Future[list[Tensor]]) -> Tensor:
            parts = torch.split(done.value()[0], [len(piece) for piece in pieces])
            for gradient, parameter, part in zip(gradients, parameters, parts):
                whole = part
                if id(parameter) in self._kept:
                    whole = part.new_zeros(gradient.numel())
                    whole[self._kept[id(parameter)]] = part
                gradient.copy_(whole.view(gradient.shape))  # by position, whatever the memory format is
            return cast(Tensor, bucket.buffer())

        return cast("torch.futures.Future[Tensor]", future.then(spread))
