"""Gated layers: a convolution or linear layer with the batch norm behind it, whose channels a gate opens and
closes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.dynamic.gates import Gate, Opening
from prunus.paint.graph import Group
from prunus.paint.records import Labels


class Live(threading.local):
    """What the gates said in the call that runs in this thread, by the name of their group; every call
    overwrites it before it is read.
    """

    def __init__(self) -> None:
        self.openings: dict[str, Opening] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Live:
        memo[id(self)] = copied = Live()
        return copied

    def __reduce__(self) -> tuple[type[Live], tuple[()]]:
        return Live, ()


class GatedLayer(nn.Module):
    """A layer, the batch norm behind it, and the channels that are open: closed ones come out as zeros, those
    without a gate as they are.

    Args:
        layer: a convolution or linear layer.
        norm: the batch norm that alone reads it, or the identity.
        groups: names of the groups of channels that it makes and that have gates.
        gates: of those groups that it makes first, by name; the other groups do as their gate said.
        places: position of every output channel in the openings of all its groups side by side, -1 where it
            has no gate, shape (outputs,).
        live: what the gates of the network said.
    """

    places: Tensor

    def __init__(
        self,
        layer: nn.Module,
        norm: nn.Module,
        groups: Sequence[str],
        gates: Mapping[str, Gate],
        places: Tensor,
        live: Live,
    ) -> None:
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
        made = boosted(self.norm(self.layer(x)), openings, self.places, getattr(self.norm, "bias", None))
        return made * spread([opening.open for opening in openings], self.places, made)


def convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: list[int],
    pads: list[int],
    dilation: list[int],
    depthwise: bool,
) -> Tensor:
    """A convolution, or a linear layer.

    Args:
        x: (batch, inputs, *places).
        weight, bias: of a convolution or, with two axes, a linear layer.
        stride, pads, dilation: of the convolution; pads are those before every axis, then those behind.
        depthwise: as many groups as channels.
    """
    if weight.dim() == 2:
        return F.linear(x, weight, bias)
    axes = weight.dim() - 2
    around = [side for axis in reversed(range(axes)) for side in (pads[axis], pads[axes + axis])]
    convolution = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    return convolution(F.pad(x, around), weight, bias, stride, 0, dilation, len(weight) if depthwise else 1)


def places_of(groups: Sequence[Group], channels: Labels) -> Tensor:
    """Position of every slot with these channels in the openings of some groups side by side, -1 where it
    belongs to none, shape (slots,).
    """
    where = {
        channel: place
        for place, channel in enumerate(channel for group in groups for channel in group.channels.tolist())
    }
    return torch.tensor([where.get(channel, -1) for channel in channels.tolist()])


def boosted(made: Tensor, openings: Sequence[Opening], places: Tensor, shift: Tensor | None) -> Tensor:
    """What is above the shift of the normalised outputs, times the boosts of their channels.

    Args:
        made: outputs (batch, slots, *places).
        openings: of the groups that they belong to.
        places: position of every slot in the openings side by side, -1 where it has no gate, shape (slots,).
        shift: of every slot, (slots,); None = 0.
    """
    if all(opening.boost is None for opening in openings):
        return made
    boosts = [
        torch.ones_like(opening.open) if opening.boost is None else opening.boost for opening in openings
    ]
    base = 0.0 if shift is None else shift.view(1, -1, *(1 for _ in made.shape[2:]))
    return spread(boosts, places, made) * (made - base) + base


def spread(values: Sequence[Tensor], places: Tensor, like: Tensor) -> Tensor:
    """Of every slot its channel's value, 1 where it has no gate, in a shape that broadcasts over the outputs
    `like`.
    """
    each = torch.cat([*values, values[0].new_ones(len(values[0]), 1)], 1)[:, places]
    return each.to(like.dtype).view(*each.shape, *(1 for _ in like.shape[2:]))
