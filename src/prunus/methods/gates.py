"""What methods with trained gates, masks or thresholds on channels share: gradients through a step, and how they end."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from prunus.channels import ChannelGraph, Plan, compact, trace
from prunus.channels.factors import ChannelFactors
from prunus.errors import ConfigError, PlanError
from prunus.targets import plan_above


@dataclass(frozen=True, eq=False)
class Pruned:
    """What is left.

    Attributes:
        model: the compact model, in the mode of the original; not tuned.
        plan: what went, as a plan of the original.
        dense: the trained network in its original shape, the numbers of its channels multiplied in: what was compacted.
        numbers: masks, gates or sizes of the channels at the end, shape (num_channels,); those that are not above 0 went.
    """

    model: nn.Module
    plan: Plan
    dense: nn.Module
    numbers: Tensor


def traced_copy(model: nn.Module, example_inputs: Any) -> tuple[nn.Module, ChannelGraph]:
    """A copy to train, and its channels; raises PlanError if there are none."""
    copied = copy.deepcopy(model)
    graph = trace(copied, example_inputs)
    if not graph.num_channels:
        raise PlanError(f"{type(model).__name__} has no channel that can go, so there is nothing to put a number on; print(graph) says why.")
    return copied, graph


def finish(model: nn.Module, graph: ChannelGraph, factors: ChannelFactors, numbers: Tensor) -> Pruned:
    """Multiply the factors in and remove the channels whose numbers are not above 0; a group that has no other keeps the one nearest to it.

    Raises ConfigError if the numbers are not finite.
    """
    if not bool(numbers.isfinite().all()):
        raise ConfigError("The training of the numbers in front of channels diverged: lower the learning rate or the strength of the penalty.")
    factors.fold()
    plan = plan_above(graph, numbers)
    return Pruned(compact(model, plan), plan, model, numbers.detach().cpu())
