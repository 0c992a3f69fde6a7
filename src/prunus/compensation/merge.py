"""Merging: a removed channel's part in the next layers goes to the channel that is most like it.

Zhang et al. 2019, "Exploiting Channel Similarity for Accelerating Deep Convolutional Neural Networks" (arXiv
1908.02620), describes no merge; W[:, r] += s W[:, j] for a removed channel j and its representative r is our
choice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door, one_each
from prunus.errors import PlanError
from prunus.paint.model_copy import copy_model, named_tensors, unwrap
from prunus.paint.records import Labels
from prunus.plans.consumers import reading_axes
from prunus.plans.mask import lost_slots
from prunus.plans.plan import Plan
from prunus.plans.resolve import graph_for


@door()
@torch.no_grad()
def merge(model: nn.Module, plan: Plan, into: Tensor, scales: Tensor | None = None) -> nn.Module:
    """A copy of the model in which whatever reads a removed channel reads its representative more instead;
    give it to `compact` with the same plan.

    Every axis that reads channels is changed, whichever layer it belongs to, but for those under a weight
    norm; what reads removed channels becomes zero.

    Args:
        model: the model that the plan was made for; not changed.
        plan: what goes.
        into: shape (num_channels,): the channel that each one goes into; of a removed one its representative
            must stay and be of the same group. A channel whose entry is itself is removed without being
            merged.
        scales: shape (num_channels,): how many times the representative makes up for the channel; None =
            once.

    Raises:
        PlanError: the plan was made for another model, or a representative goes itself or is of another
            group.
    """
    model = unwrap(model)
    graph = graph_for(model, plan)
    removed = plan.removed_in(graph)
    one_each("into", into, "channels", graph.num_channels)
    target = into.cpu().numpy()
    gone = np.flatnonzero(removed & (target != np.arange(len(target))))
    wrong = gone[
        removed[target[gone]] | (graph.group_of_channel[target[gone]] != graph.group_of_channel[gone])
    ]
    if len(wrong):
        raise PlanError(
            f"Channel {wrong[0]} cannot go into channel {target[wrong[0]]}, which goes too or belongs to"
            " another group."
        )
    factor = torch.ones(len(target), dtype=torch.float64) if scales is None else scales.double().cpu()
    merged = copy_model(model, {})
    tensors = named_tensors(merged)
    reading = {(axis.name, axis.dim) for axis in reading_axes(graph)}
    for axis, lost in lost_slots(graph, removed):
        if (axis.name, axis.dim) not in reading:
            continue
        slots = tensors[axis.name].detach().movedim(axis.dim, 0)
        for slot, heir in _heirs(axis.channels, lost.numpy(), target):
            slots[heir] += (factor[axis.channels[slot]] * slots[slot].double()).to(slots.dtype)
        slots[lost] = 0
    return merged


def _heirs(channels: Labels, lost: Labels, into: Labels) -> list[tuple[int, int]]:
    """Every lost slot with the slot of its representative: the k-th slot of a channel goes to the k-th of the
    other.
    """
    slots_of: dict[int, list[int]] = {}
    for slot, channel in enumerate(channels.tolist()):
        slots_of.setdefault(channel, []).append(slot)
    pairs = []
    for channel in dict.fromkeys(channels[lost].tolist()):
        heir = int(into[channel])
        if heir != channel:
            pairs += list(zip(slots_of[channel], slots_of[heir], strict=True))
    return pairs
