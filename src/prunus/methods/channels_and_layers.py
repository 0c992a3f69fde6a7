"""Pruning of channels and of whole layers at once, in proportions that are learned, not given.

Of the paper that this follows only the abstract is public (adaptive channel and layer pruning: the
proportions of both are learned), so all formulas are our choice. Every channel has a gate g = 1[a > 0], every
residual block a gate h = 1[b > 0]:

    filters of a channel times g
    block(x) times h, plus x times 1 - h        a closed block is the identity

    L = task + strength * MACs(g, h) / MACs     MACs of a layer: (inputs kept) * (outputs kept) * h of its
    block

Weights and gates are trained together, the gates with the gradient of a sigmoid. In the end closed blocks are
replaced by the identity and closed channels are removed; both leave exactly the network that was trained.

What a block is, `prunus.surgery.blocks` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.agreement import difference, not_finite, rounding
from prunus._foundation.arguments import door
from prunus._foundation.made import begins
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import CompactError, TargetError, clause
from prunus.methods.common import FIRST, Journal, Outcome, Target
from prunus.methods.removal import BEFORE, remove
from prunus.methods.trained_masks import traced_copy
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.planning.targets import plan_above
from prunus.plans.verify import drawn_inputs
from prunus.surgery.blocks import outputs_of, residual_blocks, without_blocks
from prunus.surgery.channel_scaling import ChannelFactors, straight_through
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig

START = 1.0  # of a and b: open, and the sigmoid not flat
# a and b are this times what is trained, so that gates move a hundred times as fast as a filter's numbers at
# one learning rate
SPEED = 10.0


@door(TargetError)
@begins
def channels_and_layers(
    model: nn.Module,
    task: Task,
    *,
    strength: float = 1.0,
    config: TrainConfig | None = None,
    tuning: TrainConfig | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Train a copy of a model with gates, and remove what they close.

    Args:
        model: trained.
        task: what it is for.
        strength: what all MACs together are worth, in units of the loss. Above the loss of guessing, 2.3 for
            ten classes, it may end in a network that guesses.
        config: how to train; None = its defaults.
        tuning: how to fine-tune what is left; None leaves it out.
        journal: how the training is kept and told about.
        watch: told about progress.

    Returns:
        `blocks` are the modules that were replaced by the identity; in `found`, "removable" are all blocks
        that had a gate, and "numbers" what was trained of every channel that had one outside of the closed
        blocks. A saved model is loaded with the `build_model` of the whole network.

    Raises:
        TargetError: a negative strength.
        PlanError: no channels, or what `ChannelFactors` raises.
        CompactError: the forward needs a block that is closed.
    """
    if not strength >= 0:
        raise TargetError(f"The strength of the penalty on MACs is 0 or more, not {strength}.")
    config, clock, example = (
        replace(config or TrainConfig(), keep="last"),
        Clock(watch),
        example_of(task, model),
    )
    trained, graph = traced_copy(model, example)
    removable = residual_blocks(trained, graph)
    gates = Gates(graph, removable)
    factors = ChannelFactors(trained, graph, gates)
    hooks = [
        trained.get_submodule(name).register_forward_hook(
            lambda block, given, made, index=index: gates.mixed(index, given[0], made)
        )
        for index, name in enumerate(removable)
    ]
    with clock.steps(FIRST):
        history = task.fit(
            trained, config, besides=lambda: strength * gates.macs(), **journal.options(FIRST, watch)
        )
    trained.eval()
    inputs = drawn_inputs(trained, graph, torch.Generator().manual_seed(0))
    gated = outputs_of(trained, inputs)
    for hook in hooks:
        hook.remove()
    factors.fold()
    closed = tuple(name for name, gate in zip(removable, gates.of_blocks().tolist()) if not gate)
    dense = _without(trained, closed, gated, inputs)
    left = trace(dense, example)
    numbers = carried(graph, left, gates.channels.detach().cpu().double())
    plan = plan_above(left, numbers)
    before = {BEFORE: model, "trained with gates": dense}
    outcome = remove(
        dense, left, plan, Target("strength", strength), task, clock, tuning=tuning, before=before
    )
    return replace(
        outcome,
        training=history,
        blocks=closed,
        whole=graph.cost() if closed else None,
        found={"removable": removable, "numbers": numbers},
    )


def _without(trained: nn.Module, closed: Sequence[str], gated: list[Tensor], inputs: Inputs) -> nn.Module:
    """The trained network without its closed blocks, which computes what it did with their gates; raises
    CompactError if it does not.
    """
    name = type(trained).__name__
    dense = without_blocks(trained, closed)
    try:
        apart = difference(gated, outputs_of(dense, inputs))  # type: ignore[arg-type]  # positional and keyword arguments, as drawn
    except Exception as error:  # any forward may look into its blocks
        raise CompactError(
            f"{name} does not run without its closed blocks {', '.join(closed)} ({clause(error)})."
        ) from error
    if not_finite(gated):
        raise CompactError(
            f"{name} gives {not_finite(gated)} once it is trained with gates; train it with a smaller"
            " learning rate."
        )
    if not apart.relative <= rounding(torch.float32):
        raise CompactError(f"{name} computes something else without its closed blocks {', '.join(closed)}.")
    return dense


class Gates(nn.Module):
    """The gates of all channels and blocks, and the MACs that they leave.

    Attributes:
        channels: a / `SPEED`, shape (num_channels,).
        blocks: b / `SPEED`, shape (blocks,).
    """

    group_of_channel: Tensor
    per_group: Tensor
    fixed: Tensor
    constants: Tensor
    factors: Tensor
    inside: Tensor

    def __init__(self, graph: ChannelGraph, blocks: Sequence[str]) -> None:
        super().__init__()
        self.channels = nn.Parameter(torch.full((graph.num_channels,), START / SPEED))
        self.blocks = nn.Parameter(torch.full((len(blocks),), START / SPEED))
        costs = graph.costs
        constants, factors = costs.macs
        modules = [
            graph.records[contraction.record].module for contraction in graph.contractions
        ]  # one product of the costs each, in order
        inside = [
            next((i for i, block in enumerate(blocks) if f"{name}.".startswith(f"{block}.")), len(blocks))
            for name in modules
        ]
        for name, value in {
            "group_of_channel": graph.group_of_channel,
            "per_group": costs.per_group,
            "fixed": costs.fixed,
            "constants": constants,
            "factors": factors,
            "inside": np.array(inside, dtype=np.int64),
        }.items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        self.total = float(graph.cost().macs)

    def forward(self) -> Tensor:
        """The gates of the channels, (num_channels,)."""
        return _gate(self.channels)

    def of_blocks(self) -> Tensor:
        """The gates of the blocks, (blocks,)."""
        return _gate(self.blocks)

    def mixed(self, index: int, given: Tensor, made: Tensor) -> Tensor:
        """What a gated block makes."""
        gate = self.of_blocks()[index].to(made.dtype)
        return gate * made + (1 - gate) * given

    def macs(self) -> Tensor:
        """MACs behind the gates, as a share of all."""
        kept = self.per_group.new_zeros(self.per_group.shape[1]).index_add(
            0, self.group_of_channel, self().double()
        )
        lengths = self.fixed + self.per_group @ kept
        open_ = torch.cat([self.of_blocks().double(), lengths.new_ones(1)])[self.inside]
        return (self.constants * lengths[self.factors].prod(1) * open_).sum() / self.total


def carried(old: ChannelGraph, new: ChannelGraph, values: Tensor) -> Tensor:
    """Values of a graph's channels, shape (num_channels,), for those of a part of the network; channels that
    were pinned in the whole get 1.
    """
    before = {(axis.name, axis.dim): axis.channels for axis in old.axes}
    known = torch.cat([values, values.new_ones(1)])  # pinned slots are channel -1
    found = values.new_ones(new.num_channels)
    for axis in new.axes:
        free = axis.channels >= 0
        found[torch.from_numpy(axis.channels[free])] = known[
            torch.from_numpy(before[axis.name, axis.dim][free])
        ]
    return found


def _gate(numbers: Tensor) -> Tensor:
    """1 above 0, with the gradient of a sigmoid."""
    return straight_through((numbers > 0).to(numbers.dtype), torch.sigmoid(SPEED * numbers))
