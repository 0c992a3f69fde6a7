"""Thresholds that are trained: what is smaller than the threshold of its layer counts as nothing, softly
while training and for good at the end.

Manessi et al. 2018, "Automated Pruning for Deep Neural Network Compression" (arXiv 1712.01721):
differentiable pruning functions, whose thresholds are optimised together with the weights, and a regulariser
that enforces pruning. The paper prunes single weights; its formulas are not at hand, and these are our
choice. With s the size of a channel, t the threshold of its group and b the sharpness,

    s~ = relu(s - t) + t sigmoid(b (s - t))      nearly 0 below t, nearly s above, t / 2 at t itself
    L = task + strength * sum_groups exp(-t)

and all that makes the channel is multiplied by s~ / s. b grows exponentially over the training, so that the
step becomes sharp. A channel's size is the l2 norm of all that makes it and is not in front of a batch norm,
divided by what was the mean of its group; t is the softplus of what is trained.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.made import begins
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods._data import callback, steps_of
from prunus.methods.common import FIRST, Journal, Outcome
from prunus.methods.trained_masks import finish, traced_copy
from prunus.paint.graph import ChannelGraph
from prunus.surgery.channel_scaling import ChannelFactors, Maker, makers
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig
from prunus.training.hooks import StepCount

START = 0.1  # of the thresholds
SHARPNESS = (10.0, 1000.0)
_LEAST = 1e-6  # a size, so that the root has a gradient


@door(TargetError)
@begins
def threshold_pruning(
    model: nn.Module,
    task: Task,
    *,
    strength: float = 3.0,
    config: TrainConfig | None = None,
    tuning: TrainConfig | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Train a copy of a model with thresholds, and remove the channels below them.

    Args:
        model: trained or not.
        task: what it is for.
        strength: of the regulariser, which pushes the thresholds up.
        config: how to train; the thresholds sharpen over all of its steps. None = its defaults.
        tuning: how to fine-tune what is left; None leaves it out.
        journal: how the training is kept and told about.
        watch: told about progress.

    Returns:
        Sizes minus thresholds are "numbers" in `found`.

    Raises:
        TargetError: a negative strength.
        PlanError: no channels, or what `ChannelFactors` raises.
    """
    if not strength >= 0:
        raise TargetError(f"The strength of the regulariser is 0 or more, not {strength}.")
    config, clock = replace(config or TrainConfig(), keep="last"), Clock(watch)
    trained, graph = traced_copy(model, example_of(task, model))
    count = StepCount()
    thresholds = Thresholds(graph, makers(trained, graph), steps_of(task, config), count)
    factors = ChannelFactors(trained, graph, thresholds)
    options: dict[str, Any] = {"pruning": callback(count, trained), **journal.options(FIRST, watch)}
    with clock.steps(FIRST):
        history = task.fit(trained, config, besides=lambda: strength * thresholds.penalty(), **options)
    with torch.no_grad():
        above = thresholds.sizes() - thresholds.of_channels()
    outcome = finish(
        trained, graph, factors, above, strength, task, clock, tuning, {"trained with thresholds": trained}
    )
    return replace(outcome, training=history)


class Thresholds(nn.Module):
    """The thresholds of all groups, and what they make of the channels.

    Attributes:
        thresholds: before the softplus, shape (groups,).
    """

    unit: Tensor
    group_of_channel: Tensor

    def __init__(self, graph: ChannelGraph, making: list[Maker], steps: int, count: StepCount) -> None:
        super().__init__()
        self.thresholds = nn.Parameter(torch.full((len(graph.groups),), math.log(math.expm1(START))))
        self._steps, self._count = steps, count
        self._making = [
            (maker, torch.from_numpy(maker.axis.channels % (graph.num_channels + 1))) for maker in making
        ]  # the last takes pinned slots
        self.register_buffer("group_of_channel", torch.from_numpy(graph.group_of_channel), persistent=False)
        self.register_buffer("unit", torch.ones(graph.num_channels), persistent=False)
        self.to(making[0].tensor.device)
        sizes = self.sizes().detach()
        means = torch.stack([sizes[torch.from_numpy(group.channels)].mean() for group in graph.groups]).clamp(
            min=_LEAST
        )
        self.unit = means[self.group_of_channel]

    def sizes(self) -> Tensor:
        """s, shape (num_channels,)."""
        squares = self.unit.new_zeros(len(self.unit) + 1)
        for maker, channels in self._making:
            rows = (
                maker.tensor.movedim(maker.axis.dim, 0).flatten(1)
                if maker.tensor.dim() > 1
                else maker.tensor[:, None]
            )
            squares = squares.index_add(0, channels.to(rows.device), rows.square().sum(1).to(squares.dtype))
        return (squares[:-1] + _LEAST**2).sqrt() / self.unit

    def of_channels(self) -> Tensor:
        """t, shape (num_channels,)."""
        return F.softplus(self.thresholds)[self.group_of_channel]

    def forward(self) -> Tensor:
        """s~ / s, shape (num_channels,)."""
        sizes = self.sizes()
        return softly_pruned(sizes, self.of_channels(), self.sharpness) / sizes

    @property
    def sharpness(self) -> float:
        """b, exponentially from the first to the last."""
        first, last = SHARPNESS
        return float(first * (last / first) ** (min(self._count.done, self._steps) / self._steps))

    def penalty(self) -> Tensor:
        """The regulariser."""
        return torch.exp(-F.softplus(self.thresholds)).sum()


def softly_pruned(sizes: Tensor, thresholds: Tensor, sharpness: float) -> Tensor:
    """s~ of sizes that are not negative, in the shape of the arguments."""
    beyond = sizes - thresholds
    return F.relu(beyond) + thresholds * torch.sigmoid(sharpness * beyond)
