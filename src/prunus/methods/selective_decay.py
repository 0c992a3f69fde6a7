"""Selective weight decay: what is going to be pruned decays, harder and harder, until it is as good as gone and pruning changes nothing.

Tessier et al. 2022, "Rethinking Weight Decay for Efficient Neural Network Pruning" (arXiv 2011.10520): L = cross-entropy + a mu / 2 * sum of w^2
over the filters that would be pruned now, where a grows from `first` to `last` exponentially over the training. The set is chosen anew at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._arguments import door
from prunus.channels import ChannelGraph, Plan
from prunus.channels.mask import Zeros, produced
from prunus.errors import TargetError
from prunus.training.objective import Loss

FIRST, LAST = 0.1, 1e5


@door()
def selective_decay_loss(
    model: nn.Module,
    graph: ChannelGraph,
    choose: Callable[[ChannelGraph], Plan],
    steps: int,
    *,
    weight_decay: float,
    first: float = FIRST,
    last: float = LAST,
    every: int = 1,
) -> Loss:
    """Cross-entropy and the decay of what would go now, a loss for `prunus.training.train`.

    Args:
        model: the network that is trained.
        graph: its channels.
        choose: graph -> the plan that would be carried out now, by the weights as they are.
        steps: of the whole training.
        weight_decay: mu, that of the optimiser.
        first, last: the factor a at the beginning and at the end. lr * weight_decay * a, with SGD's momentum m divided by 1 - m, must stay well
            below 1, or the decay overshoots; and where the rate falls to zero before a has grown, nothing decays.
        every: steps between two choices (our addition: 1 is the paper's way).

    Raises:
        TargetError: no steps, or factors that are not above 0.
    """
    if steps < 1 or every < 1 or not 0 < first <= last:
        raise TargetError(f"A training has at least one step and a factor that grows from above 0, not {steps} and {first} to {last}.")
    done = 0
    decaying: list[Zeros] = []

    def loss(outputs: Tensor, targets: Any) -> Tensor:
        nonlocal done, decaying
        if done % every == 0:
            removed: np.ndarray[Any, np.dtype[np.bool_]] = choose(graph).removed_in(graph)
            decaying = [zero for zero in produced(model, graph, removed) if zero.tensor.requires_grad and not zero.value]
        factor = first * (last / first) ** (min(done, steps) / steps)
        done += 1
        squares = [zero.tensor.index_select(zero.dim, zero.slots).square().sum() for zero in decaying]
        total = torch.stack(squares).sum() if squares else outputs.new_zeros(())
        result: Tensor = F.cross_entropy(outputs, targets) + 0.5 * factor * weight_decay * total
        return result

    return loss
