"""Leave out whole residual blocks, one after the other, always the one without which the loss is lowest.

Greedy, as in CAR for filters (Abbasi-Asl and Yu 2017), which judges what is left by what it does and not by
the size of its weights; for blocks it is our choice. Where every layer has a fixed cost, as on narrow
networks and in 8 bits, fewer layers save the time that narrower ones do not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import PlanError, TargetError
from prunus.methods.common import Outcome, Target
from prunus.methods.removal import BEFORE, remove
from prunus.paint import trace
from prunus.paint.inputs import Inputs
from prunus.plans.plan import make_plan
from prunus.plans.verify import evaluating
from prunus.surgery.blocks import residual_blocks, without_blocks
from prunus.surgery.compact import Origin
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.tasks.teaching import check_teachable
from prunus.training import TrainConfig

JUDGED = 500  # held-out samples by which blocks are left out, at most


@dataclass(frozen=True, eq=False)
class BlockChoice:
    """Which blocks go, and the network without them: a choice, as a plan is one of channels.

    Attributes:
        model: a copy with the identity in the place of the blocks. Its file is loaded with the `build_model`
            of the whole network.
        blocks: names of those that are left out, the first one first.
        losses: with all blocks, and after each one that was left out.
        removable: names of all blocks that could be left out.
    """

    model: nn.Module
    blocks: tuple[str, ...]
    losses: tuple[float, ...]
    removable: tuple[str, ...]


@door(TargetError)
def fewer_blocks(
    model: nn.Module,
    task: Task,
    *,
    blocks: int = 1,
    evenly: bool = False,
    teach: bool = False,
    config: TrainConfig | None = None,
    watch: Watch = unwatched,
) -> Outcome:
    """Leave out residual blocks, and no channel; the model itself is not changed.

    Args:
        model: trained.
        task: what it is for; blocks are chosen by the loss on its held-out samples (training samples, if
            there are none), or by the metric where only the model knows its loss.
        blocks: how many go.
        evenly: choose among the blocks of those stages only that have the largest share of theirs left. A
            stage is what holds blocks next to each other (`layer1` of a ResNet). Where many blocks go and
            what is left is trained, the loss before that training says too little.
        teach: the original teaches what is left while it is tuned; for classes only.
        config: how to fine-tune what is left; None leaves it out.
        watch: told about progress.

    Returns:
        `found` has the "losses" with all blocks and after each one that went, and the names of all that are
        "removable".

    Raises:
        TargetError: more blocks than there are, or none that can be left out.
        PlanError: the model lacks channels already; blocks go first.
    """
    if blocks < 1:
        raise TargetError(f"At least one block goes, not {blocks}.")
    if teach:
        check_teachable(model, task, config)
    clock, example = Clock(watch), example_of(task, model)
    choice = clock.time(
        "leaving out residual blocks",
        lambda: block_choice(model, example, task, blocks, evenly=evenly, watch=watch),
    )
    start = choice.model.eval()
    graph = clock.time("tracing", lambda: trace(start, example))
    nothing = make_plan(graph, np.zeros(graph.num_channels, dtype=bool))
    before = {BEFORE: model, "without blocks": start}
    outcome = remove(
        start,
        graph,
        nothing,
        Target("rate", 0.0),
        task,
        clock,
        tuning=config,
        before=before,
        teacher=model if teach else None,
    )
    found = {"losses": choice.losses, "removable": choice.removable}
    return replace(outcome, blocks=choice.blocks, whole=trace(model, example).cost(), found=found)


def block_choice(
    model: nn.Module, example_inputs: Inputs, task: Task, blocks: int, *, evenly: bool, watch: Watch
) -> BlockChoice:
    """The blocks without which the task's loss on samples that are not reported on is lowest; its metric
    highest, where models know the loss.
    """
    some = task.few("validation" if task.validation is not None else "train", JUDGED)

    def loss(network: nn.Module) -> float:
        return -some.value(network) if task.loss == "model" else some.figures(network)[1]

    return leave_out(model, example_inputs, loss, blocks, evenly=evenly, watch=watch)


@door()
def leave_out(
    model: nn.Module,
    example_inputs: Inputs,
    loss: Callable[[nn.Module], float],
    enough: Callable[[nn.Module], bool] | int,
    *,
    evenly: bool = False,
    watch: Watch = unwatched,
) -> BlockChoice:
    """Leave out residual blocks, as `residual_blocks` finds them, until it is enough: `fewer_blocks` for a
    loss and an end of one's own.

    Args:
        model: trained; it stays as it is.
        example_inputs: what it is called with.
        loss: of a network in eval mode, on samples that are not reported on; lower is better.
        enough: how many blocks are left out, or whether a network is small enough, asked after each one.
        evenly: as for `fewer_blocks`.
        watch: told about progress.

    Raises:
        TargetError: more blocks than there are, or none that can be left out; or all are left out, and it is
            not enough.
        PlanError: the model lacks channels already; blocks go first.
    """
    origin = getattr(model, "prunus", None)
    if isinstance(origin, Origin) and origin.plan.removed:
        raise PlanError(
            f"This {type(model).__name__} lacks channels already: leave out blocks of the whole network, and"
            " remove channels after that."
        )
    removable = residual_blocks(model, trace(model, example_inputs))
    wanted = enough if isinstance(enough, int) else len(removable)
    if not removable or not 0 <= wanted <= len(removable):
        raise TargetError(
            f"{type(model).__name__} has {len(removable)} residual blocks that can be left out, not"
            f" {max(wanted, 1)}."
        )

    def judged(blocks: tuple[str, ...]) -> float:
        shorter = without_blocks(model, blocks)
        with evaluating(shorter):
            return loss(shorter)

    gone: tuple[str, ...] = ()
    losses = [judged(gone)]
    found, done = without_blocks(model, gone), callable(enough) and enough(model)
    while len(gone) < wanted and not done:
        left = (
            _of_fullest_stages(removable, gone)
            if evenly
            else [name for name in removable if name not in gone]
        )
        watch("leaving out residual blocks", len(gone), wanted if isinstance(enough, int) else 0)
        best, name = min((judged((*gone, name)), number, name) for number, name in enumerate(left))[::2]
        gone, losses = (*gone, name), [*losses, best]
        found = without_blocks(model, gone)
        done = callable(enough) and enough(found)
    if callable(enough) and not done:
        raise TargetError(
            f"{type(model).__name__} is not small enough without its {len(removable)} residual blocks that"
            " can be left out."
        )
    return BlockChoice(found, gone, tuple(losses), removable)


def _of_fullest_stages(removable: Sequence[str], gone: Sequence[str]) -> list[str]:
    """Blocks that are left of the stages with the largest share of blocks left."""
    had, lost = Counter(map(_stage, removable)), Counter(map(_stage, gone))
    lowest = min(Fraction(lost[stage], had[stage]) for stage in had)
    return [
        name
        for name in removable
        if name not in gone and Fraction(lost[_stage(name)], had[_stage(name)]) == lowest
    ]


def _stage(block: str) -> str:
    return block.rpartition(".")[0]
