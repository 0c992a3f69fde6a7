"""What methods with trained gates, masks or thresholds on channels share: gradients through a step, and how
they end.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from prunus._foundation.progress import Clock
from prunus.errors import ConfigError, PlanError
from prunus.methods.common import Outcome, Target
from prunus.methods.removal import remove
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.planning.targets import plan_above
from prunus.surgery.channel_scaling import ChannelFactors
from prunus.tasks import Task
from prunus.training import TrainConfig


def traced_copy(model: nn.Module, example_inputs: Any) -> tuple[nn.Module, ChannelGraph]:
    """A copy to train, and its channels; raises PlanError if there are none."""
    copied = copy.deepcopy(model)
    graph = trace(copied, example_inputs)
    if not graph.num_channels:
        raise PlanError(
            f"{type(model).__name__} has no channel that can go, so there is nothing to put a number on;"
            " print(graph) says why."
        )
    return copied, graph


def finish(
    model: nn.Module,
    graph: ChannelGraph,
    factors: ChannelFactors,
    numbers: Tensor,
    strength: float,
    task: Task,
    clock: Clock,
    tuning: TrainConfig | None,
    before: dict[str, nn.Module],
) -> Outcome:
    """Multiply the factors in and remove the channels whose numbers are not above 0; a group that has no
    other keeps the one nearest to it.

    The numbers come with the outcome, as "numbers" in `found`. Raises ConfigError if they are not finite.
    """
    if not bool(numbers.isfinite().all()):
        raise ConfigError(
            "The training of the numbers in front of channels diverged: lower the learning rate or the"
            " strength of the penalty."
        )
    factors.fold()
    model.eval()
    plan, found = plan_above(graph, numbers), {"numbers": numbers.detach().cpu()}
    return replace(
        remove(model, graph, plan, Target("strength", strength), task, clock, tuning=tuning, before=before),
        found=found,
    )
