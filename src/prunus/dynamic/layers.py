"""Gated layers: a convolution or linear layer with the batch norm behind it, whose channels a gate opens and closes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from prunus.dynamic.gates import Gate, Opening


class Live(threading.local):
    """What the gates said in the call that runs in this thread, by the name of their group; every call overwrites it before it is read."""

    def __init__(self) -> None:
        self.openings: dict[str, Opening] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Live:
        memo[id(self)] = copied = Live()
        return copied

    def __reduce__(self) -> tuple[type[Live], tuple[()]]:
        return Live, ()


class GatedLayer(nn.Module):
    """A layer, the batch norm behind it, and the channels that are open: closed ones come out as zeros, those without a gate as they are.

    Args:
        layer: a convolution or linear layer.
        norm: the batch norm that alone reads it, or the identity.
        groups: names of the groups of channels that it makes and that have gates.
        gates: of those groups that it makes first, by name; the other groups do as their gate said.
        places: position of every output channel in the openings of all its groups side by side, -1 where it has no gate, shape (outputs,).
        live: what the gates of the network said.
    """

    places: Tensor

    def __init__(self, layer: nn.Module, norm: nn.Module, groups: Sequence[str], gates: Mapping[str, Gate], places: Tensor, live: Live) -> None:
        super().__init__()
        self.layer, self.norm, self.groups, self.live = layer, norm, tuple(groups), live
        self.gates = nn.ModuleList(gates.values())
        self._gated = tuple(gates)
        self.register_buffer("places", places, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, *places) to (batch, outputs, *places)."""
        for name, gate in zip(self._gated, self.gates):
            self.live.openings[name] = gate(x)
        openings = [self.live.openings[name] for name in self.groups]
        made = self.norm(self.layer(x))
        if any(opening.boost is not None for opening in openings):
            shift = getattr(self.norm, "bias", None)
            boosts = [torch.ones_like(opening.open) if opening.boost is None else opening.boost for opening in openings]
            made = self._spread(boosts, made) * (made - _wide(shift, made)) + _wide(shift, made)
        gated: Tensor = made * self._spread([opening.open for opening in openings], made)
        return gated

    def _spread(self, values: Sequence[Tensor], like: Tensor) -> Tensor:
        """Of every output channel, 1 where it has no gate, in a shape that broadcasts over the output."""
        each = torch.cat([*values, values[0].new_ones(len(values[0]), 1)], 1)[:, self.places]
        return each.to(like.dtype).view(*each.shape, *(1 for _ in like.shape[2:]))


def _wide(shift: Tensor | None, like: Tensor) -> Tensor | float:
    return 0.0 if shift is None else shift.view(1, -1, *(1 for _ in like.shape[2:]))
